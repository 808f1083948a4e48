/**
 * The last hour as lines to draw: volume, what is expected of it, where it left that, and the negative share.
 *
 * Owns the numbers of the chart. Does not own drawing (`Chart.svelte`). Only whole minutes: the running one would look
 * like a fall. Times in are ms; x values out are seconds, as uPlot wants them.
 */
import type { Minute, Usual } from './protocol';
import { MINUTE } from './state';

/** Whole minutes that a snapshot holds: an hour less the running one. */
export const SPAN = 59;
/** Minutes that a share is taken over: of one minute's few mentions it would be noise. */
export const SHARE_MINUTES = 5;
/** Fewer mentions than this in those minutes have no share. */
const SHARE_AT_LEAST = 5;
/** Minutes beyond what is expected, of the last so many, that make a burst: one alone is chance. */
const BURST_MINUTES = 2;

type Line = (number | null)[];

export interface Hour {
  /** [x, expected high, expected low, mentions, mentions where above expected, negative share]. */
  readonly lines: [number[], Line, Line, Line, Line, Line];
  /** The y value at the top of the volume's scale. */
  readonly top: number;
  /** When the run of minutes above what is expected began that lasts until now, ms; null if none. */
  readonly onset: number | null;
}

/** Return the lines of the SPAN whole minutes before `now` (ms, server clock). Minutes that are missing had no mention. */
export function hour(minutes: readonly Minute[], usual: Usual | null, now: number): Hour {
  const end = Math.floor(now / MINUTE) * MINUTE;
  const known = new Map(minutes.map((minute) => [minute.at, minute]));
  const starts = Array.from({ length: SPAN }, (_, index) => end - (SPAN - index) * MINUTE);
  const totals = starts.map((at) => known.get(at)?.total ?? 0);
  const shares = starts.map((at) => share(known, at));
  const above = totals.map((total) => usual !== null && total > usual.high);
  const hot = totals.map((total, index) => (above[index] || above[index + 1] || above[index - 1] ? total : null));
  const flat = (value: number | undefined): Line => starts.map(() => value ?? null);
  return {
    lines: [starts.map((at) => at / 1000), flat(usual?.high), flat(usual?.low), totals, hot, shares],
    top: roundUp(Math.max(4, ...totals, usual?.high ?? 0)),
    onset: onset(starts, above),
  };
}

function share(known: ReadonlyMap<number, Minute>, at: number): number | null {
  let total = 0;
  let negative = 0;
  for (let back = 0; back < SHARE_MINUTES; back++) {
    const minute = known.get(at - back * MINUTE);
    total += minute?.total ?? 0;
    negative += minute?.negative ?? 0;
  }
  return total >= SHARE_AT_LEAST ? negative / total : null;
}

/** The run may pause for one minute: a crisis breathes. */
function onset(starts: readonly number[], above: readonly boolean[]): number | null {
  let first: number | null = null;
  let run = 0;
  let pause = 0;
  for (let index = above.length - 1; index >= 0 && pause < 2; index--) {
    if (above[index]) {
      first = starts[index] ?? null;
      run += 1;
      pause = 0;
    } else pause += 1;
  }
  return run >= BURST_MINUTES ? first : null;
}

/** The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten above `value`, so that the label is a round number. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((factor) => factor * power >= value) ?? 10;
  return Math.ceil(step * power);
}
