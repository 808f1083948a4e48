/**
 * The bottom line: what each source does, what was heard, and whether that is all of it.
 *
 * Owns words and order. Does not own counting (the server's ledger) or drawing.
 */
import type { Figures, WallSource } from './protocol';
import { ago, count, things } from './format';

export interface Chip {
  readonly id: string;
  readonly name: string;
  /** Empty for a live source, else the word that says what is wrong. */
  readonly word: string;
  readonly age: string;
  readonly tone: 'good' | 'bad' | 'plain';
}

export interface Ledger {
  readonly heard: string;
  /** What was lost or is being lost; in red. */
  readonly losses: readonly string[];
  /** What needs a look but is no loss. */
  readonly notes: readonly string[];
  /** Whether the rest is complete; empty while a source is not heard, for nobody knows then. */
  readonly rest: string;
}

const ORDER = { lost: 0, unreachable: 1, stalled: 2, live: 3, finished: 4 } as const;
const MISSING = new Set<WallSource['status']>(['lost', 'unreachable', 'stalled']);
const NAME = 18;

/** Chips, what is wrong first. Age is that of the last mention, at `now` (ms, server clock). */
export function chips(sources: readonly WallSource[], now: number): Chip[] {
  return [...sources]
    .sort((a, b) => ORDER[a.status] - ORDER[b.status] || (a.id < b.id ? -1 : 1))
    .map((source) => ({
      id: source.id,
      name: source.id.length > NAME ? `${source.id.slice(0, NAME - 1)}…` : source.id,
      word: source.status === 'live' ? '' : MISSING.has(source.status) ? source.status.toUpperCase() : source.status,
      age: source.last === null ? (MISSING.has(source.status) ? '' : 'nothing yet') : ago(now - source.last),
      tone: source.status === 'live' ? 'good' : MISSING.has(source.status) ? 'bad' : 'plain',
    }));
}

/** Split chips into those that fit into `room` (in characters, at least one) and the number of the others. */
export function fitting(all: readonly Chip[], room: number): { shown: readonly Chip[]; more: number } {
  let used = 0;
  let fit = 0;
  for (const chip of all) {
    // Capitals are wider; the dot, the spaces and the gap are worth some, too.
    used += chip.name.length + 1.3 * chip.word.length + chip.age.length + 5.5;
    if (fit > 0 && used > room - (fit + 1 < all.length ? 5 : 0)) break;
    fit += 1;
  }
  return { shown: all.slice(0, fit), more: all.length - fit };
}

/** The ledger's sentence. "Complete" is said only where no gap is known and every source is being heard. */
export function ledger(figures: Figures, sources: readonly WallSource[]): Ledger {
  const sum = (field: 'gaps' | 'dead' | 'late'): number => sources.reduce((total, source) => total + source[field], 0);
  const missing = sources.filter((source) => MISSING.has(source.status)).length;
  const gaps = sum('gaps');
  const losses = gaps > 0 ? [things(gaps, 'gap')] : [];
  if (missing > 0) losses.push(`${missing} not heard`);
  const notes: string[] = [];
  if (sum('dead') > 0) notes.push(`${count(sum('dead'))} dead`);
  if (sum('late') > 0) notes.push(`${count(sum('late'))} late`);
  const rest = sources.length === 0 ? 'no source yet' : missing > 0 ? '' : gaps > 0 ? 'rest complete' : 'complete';
  return { heard: `${count(figures.heard_today)} heard today`, losses, notes, rest };
}
