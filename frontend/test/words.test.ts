/** The words of alerts, tiles and the ledger. */
import { describe, expect, it } from 'vitest';
import { alertLines, fittingAlerts } from '../src/alerts';
import { chips, fitting, ledger, type Sight } from '../src/ledger';
import { tiles } from '../src/tiles';
import { emptySnapshot } from './backend';
import { alert, NOW, source } from './fixtures';

const FIGURES = emptySnapshot().figures;
const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

describe('alertLines', () => {
  it('puts what nobody has taken first, then the most severe, then the newest', () => {
    const lines = alertLines(
      [
        alert('resolved', { state: 'resolved', severity: 1 }),
        alert('taken', { state: 'acknowledged', severity: 1, by: 'Noa' }),
        alert('blind', { state: 'no_data', severity: 3 }),
        alert('old', { severity: 1, started: NOW - 1e6 }),
        alert('new', { severity: 1 }),
        alert('mild', { severity: 3 }),
      ],
      NOW,
    );
    expect(lines.map(({ id }) => id)).toEqual(['new', 'old', 'mild', 'blind', 'taken', 'resolved']);
    expect(lines.map(({ says }) => says)).toEqual([
      'NOT ACKNOWLEDGED',
      'NOT ACKNOWLEDGED',
      'NOT ACKNOWLEDGED',
      'NO DATA',
      'with Noa',
      'resolved',
    ]);
  });

  it('ages an open alert from its start and a resolved one from its end', () => {
    const lines = alertLines([alert('a'), alert('b', { state: 'resolved' })], NOW);
    expect(lines.map(({ age }) => plain(age))).toEqual(['4 min', '1 min']);
  });

  it('marks another realm and cleans untrusted words', () => {
    const [line] = alertLines([alert('a', { realm: 'rehearsal', title: 'x\u202Ey', reason: 'r\u2066', count: 2 })], NOW);
    expect(line).toMatchObject({ realm: 'REHEARSAL', title: 'xy', reason: 'r' });
    expect(alertLines([alert('a', { count: 2 })], NOW)[0]?.reason).toBe('2 mentions');
  });

  it('shows only what fits whole, at least one', () => {
    const lines = alertLines(['a', 'b', 'c'].map((id) => alert(id)), NOW);
    expect(fittingAlerts(lines, 50, 30)).toMatchObject({ more: 1 });
    expect(fittingAlerts(lines, 50, 1)).toMatchObject({ more: 2 });
    expect(fittingAlerts(lines, 50, Infinity)).toMatchObject({ more: 0 });
    const long = alertLines([alert('t'.repeat(60)), alert('b')], NOW);
    expect(fittingAlerts(long, 50, 28).more).toBe(1);
  });
});

describe('tiles', () => {
  const by = (label: string, more: Partial<typeof FIGURES>, alerts = [alert('a')]) =>
    tiles({ ...FIGURES, ...more }, alerts, NOW).find((tile) => tile.label.startsWith(label));
  const usual = { low: 40, middle: 50, high: 60 };

  it('says what a rate is measured against', () => {
    expect(by('Mentions', { per_minute: 55, per_minute_usual: usual })).toMatchObject({ note: 'expected 50', tone: 'plain' });
    expect(by('Mentions', { per_minute: 61, per_minute_usual: usual })).toMatchObject({ note: 'above the expected 50', tone: 'hot' });
    expect(by('Mentions', { per_minute: 2, per_minute_usual: usual })).toMatchObject({ note: 'below the expected 50', tone: 'warning' });
    expect(by('Mentions', { per_minute: 900 })).toMatchObject({ note: 'too little history', tone: 'plain' });
  });

  it('takes less anger than usual for no alarm, and invents no share', () => {
    const share = { low: 0.1, middle: 0.2, high: 0.3 };
    expect(by('Negative', { negative: 0.05, negative_usual: share })?.tone).toBe('plain');
    expect(by('Negative', { negative: 0.5, negative_usual: share })?.tone).toBe('hot');
    expect(by('Negative', { negative: null })).toMatchObject({ value: '–', note: 'too few mentions' });
  });

  it('colours urgent mentions once a rule has fired', () => {
    const urgent = { urgent: 3, urgent_oldest: NOW - 360_000 };
    expect(plain(by('Urgent', urgent)?.note ?? '')).toBe('oldest 6 min');
    expect(by('Urgent', urgent)?.tone).toBe('hot');
    expect(by('Urgent', urgent, [])?.tone).toBe('plain');
  });

  it('warns of a slow pipeline in a word too', () => {
    expect(by('Receipt', { delay_p95: 7.2 })).toMatchObject({ tone: 'warning', note: 'slow · 0 heard today' });
    expect(by('Receipt', { delay_p95: null })?.value).toBe('–');
  });
});

describe('ledger', () => {
  it('says complete only where no gap is known and every source is heard', () => {
    const heard = { ...FIGURES, heard_today: 1_204_118 };
    const fresh: Sight = { word: 'live', proved: '12:00:30' };
    expect(ledger(heard, [source('a')], fresh)).toEqual({ heard: '1,204,118 heard today', losses: [], notes: [], rest: 'complete' });
    expect(ledger(heard, [source('a', { gaps: 1 })], fresh)).toMatchObject({ losses: ['1 gap'], rest: 'rest complete' });
    const broken = [source('a', { status: 'unreachable', gaps: 2, dead: 3, late: 12 }), source('b', { status: 'lost' })];
    expect(ledger(heard, broken, fresh)).toMatchObject({ losses: ['2 gaps', '2 not heard'], notes: ['3 dead', '12 late'], rest: '' });
    expect(ledger(heard, [], fresh).rest).toBe('no source yet');
  });

  it('says complete of now only while the wall is fresh, and else of the last proof', () => {
    const rest = (word: Sight['word'], proved: string | null, more: Partial<ReturnType<typeof source>> = {}) =>
      ledger(FIGURES, [source('a', more)], { word, proved }).rest;
    expect(rest('live', '12:03:10')).toBe('complete');
    expect(rest('delayed', '12:03:10')).toBe('complete');
    expect(rest('stale', '12:03:10')).toBe('complete at 12:03:10');
    expect(rest('stale', '12:03:10', { gaps: 2 })).toBe('rest complete at 12:03:10');
    expect(rest('ended', '12:03:10', { status: 'finished' })).toBe('complete at 12:03:10');
    expect(rest('stale', '12:03:10', { status: 'lost' })).toBe('');
    for (const word of ['connecting', 'stale', 'ended', 'delayed', 'live'] as const) expect(rest(word, null)).toBe('');
    expect(ledger(FIGURES, [], { word: 'connecting', proved: null }).rest).toBe('no source yet');
  });

  it('names what is wrong with a source and puts it first', () => {
    const all = chips([source('ok'), source('quiet', { status: 'stalled', last: NOW - 74_000 }), source('dead', { status: 'lost' })], NOW);
    expect(all.map(({ name, word, tone }) => [name, word, tone])).toEqual([
      ['dead', 'LOST', 'bad'],
      ['quiet', 'STALLED', 'bad'],
      ['ok', '', 'good'],
    ]);
    expect(plain(all[1]?.age ?? '')).toBe('1 min');
  });

  it('shows the chips that fit and counts the others', () => {
    const all = chips(Array.from({ length: 30 }, (_, n) => source(`source-${n}`)), NOW);
    const { shown, more } = fitting(all, 80);
    expect(shown.length).toBeGreaterThan(2);
    expect(shown.length + more).toBe(30);
    expect(fitting(all, 0).shown.length).toBe(1);
    expect(fitting(all.slice(0, 2), 80).more).toBe(0);
  });
});
