/**
 * The bottom line: what each source does, what was heard, and whether that is all of it.
 *
 * Owns words and order. Does not own counting (the server's ledger) or drawing.
 */
import type { Figures, WallSource } from './protocol';
import { ago, count, things } from './format';
import type { Freshness } from './freshness';

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
  /** Whether the rest is complete, or when it last was; empty where nobody knows. */
  readonly rest: string;
}

/** What the wall's completeness may be claimed for. */
export interface Sight {
  readonly word: Freshness;
  /** The moment that was proved last, as a clock writes it; null before the first proof. */
  readonly proved: string | null;
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

/**
 * The ledger's sentence. "Complete" is said only where no gap is known and every source is being heard, and of now only
 * while the wall is fresh: a wall that went stale or ended says the moment of its last proof, one without proof nothing.
 */
export function ledger(figures: Figures, sources: readonly WallSource[], sight: Sight): Ledger {
  const sum = (field: 'gaps' | 'dead' | 'late'): number => sources.reduce((total, source) => total + source[field], 0);
  const missing = sources.filter((source) => MISSING.has(source.status)).length;
  const gaps = sum('gaps');
  const losses = gaps > 0 ? [things(gaps, 'gap')] : [];
  if (missing > 0) losses.push(`${missing} not heard`);
  const notes: string[] = [];
  if (sum('dead') > 0) notes.push(`${count(sum('dead'))} dead`);
  if (sum('late') > 0) notes.push(`${count(sum('late'))} late`);
  const whole = missing > 0 ? '' : complete(sight);
  const rest = sources.length === 0 ? 'no source yet' : whole !== '' && gaps > 0 ? `rest ${whole}` : whole;
  return { heard: `${count(figures.heard_today)} heard today`, losses, notes, rest };
}

function complete({ word, proved }: Sight): string {
  if (proved === null) return '';
  return word === 'live' || word === 'delayed' ? 'complete' : `complete at ${proved}`;
}
