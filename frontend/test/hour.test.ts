import { describe, expect, it } from 'vitest';
import { hour, SPAN } from '../src/hour';
import type { Minute } from '../src/protocol';
import { MINUTE } from '../src/state';
import { NOW } from './fixtures';

const END = Math.floor(NOW / MINUTE) * MINUTE;
/** Totals of the last whole minutes, oldest first; a fifth of them negative. */
const minutes = (...totals: number[]): Minute[] =>
  totals.map((total, n) => ({ at: END - (totals.length - n) * MINUTE, total, negative: total / 5 }));
const USUAL = { low: 40, middle: 50, high: 60 };

describe('hour', () => {
  it('leaves out the running minute, which would look like a fall', () => {
    const { lines } = hour([...minutes(50, 51), { at: END, total: 3, negative: 0 }], USUAL, NOW);
    expect(lines[0].length).toBe(SPAN);
    expect(lines[3].slice(-2)).toEqual([50, 51]);
    expect(lines[0].at(-1)).toBe((END - MINUTE) / 1_000);
  });

  it('is hot where it leaves what is expected, joined to the minute before', () => {
    const { lines, onset } = hour(minutes(50, 50, 90, 120), USUAL, NOW);
    expect(lines[4].slice(-4)).toEqual([null, 50, 90, 120]);
    expect(onset).toBe(END - 2 * MINUTE);
  });

  it('calls neither one minute nor a past burst an onset, and allows a breath', () => {
    expect(hour(minutes(50, 50, 50, 90), USUAL, NOW).onset).toBeNull();
    expect(hour(minutes(90, 90, 50, 50, 50), USUAL, NOW).onset).toBeNull();
    expect(hour(minutes(50, 90, 90, 55, 90), USUAL, NOW).onset).toBe(END - 4 * MINUTE);
  });

  it('has no band and no onset without history', () => {
    const { lines, onset } = hour(minutes(500, 500, 500), null, NOW);
    expect(lines[1].every((value) => value === null)).toBe(true);
    expect(onset).toBeNull();
  });

  it('gives a share of five minutes, and none of too few mentions', () => {
    expect(hour(minutes(10, 10, 10, 10, 10), null, NOW).lines[5].at(-1)).toBeCloseTo(0.2);
    expect(hour(minutes(1, 1, 1), null, NOW).lines[5].at(-1)).toBeNull();
  });

  it('tops the scale with a round number above all that is drawn', () => {
    expect(hour(minutes(1_190), USUAL, NOW).top).toBe(1_200);
    expect(hour([], null, NOW).top).toBe(4);
    expect(hour(minutes(7), USUAL, NOW).top).toBe(60);
  });
});
