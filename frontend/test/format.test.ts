import { describe, expect, it } from 'vitest';
import { ago, clockOf, count, large, momentOf, percent, pillAge, rate, seconds, things } from '../src/format';

const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

describe('numbers', () => {
  it('groups, shortens and keeps one unit', () => {
    expect(count(1_204_118)).toBe('1,204,118');
    expect(large(9_999)).toBe('9,999');
    expect(large(12_340)).toBe('12.3K');
    expect(rate(0)).toBe('0');
    expect(rate(3.24)).toBe('3.2');
    expect(rate(430.4)).toBe('430');
    expect(plain(percent(0.524))).toBe('52 %');
    expect(plain(seconds(0.62))).toBe('0.6 s');
    expect(plain(seconds(312.4))).toBe('312 s');
    expect(plain(seconds(1_234))).toBe('20 min');
    expect(plain(seconds(12_345.6))).toBe('3 h 25');
    expect(plain(seconds(99_999))).toBe('27 h 46');
    expect(plain(seconds(400_000))).toBe('4 d');
    expect(things(1, 'gap')).toBe('1 gap');
    expect(things(0, 'gap')).toBe('0 gaps');
  });
});

describe('ages', () => {
  it.each([
    [-5, 'now'],
    [999, 'now'],
    [1_000, '1 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_599_999, '59 min'],
    [3_720_000, '1 h 02'],
    [86_400_000 * 3 + 4 * 3_600_000, '3 d 04 h'],
  ])('%i ms is %s', (ms, text) => expect(plain(ago(ms))).toBe(text));

  it.each([
    [640, '0.6 s'],
    [59_990, '59.9 s'],
    [65_000, '1 min 05 s'],
    [7_500_000, '2 h 05 min'],
  ])('the pill says %i ms as %s', (ms, text) => expect(plain(pillAge(ms))).toBe(text));
});

describe('clockOf', () => {
  it('gives the time of a zone on 24 hours', () => {
    expect(clockOf('Asia/Tehran')?.(Date.UTC(2026, 10, 22, 20, 35))).toBe('00:05');
    expect(clockOf('UTC')?.(Date.UTC(2026, 10, 22, 0, 5))).toBe('00:05');
  });

  it('has none for a zone that does not exist', () => {
    expect(clockOf('Asia/Atlantis')).toBeNull();
  });
});

describe('momentOf', () => {
  const now = Date.UTC(2026, 10, 22, 0, 30);

  it('writes seconds, and the day where it is another one in that zone', () => {
    expect(momentOf('UTC')(Date.UTC(2026, 10, 22, 0, 5, 9), now)).toBe('00:05:09');
    expect(momentOf('UTC')(Date.UTC(2026, 10, 21, 23, 59, 9), now)).toBe('21 Nov, 23:59:09');
    expect(momentOf('Asia/Jerusalem')(Date.UTC(2026, 10, 21, 23, 59, 9), now)).toBe('01:59:09');
  });

  it('reads an unknown zone as UTC', () => {
    expect(momentOf('Asia/Atlantis')(now, now)).toBe('00:30:00');
  });
});
