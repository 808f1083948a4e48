/**
 * The order of mentions on a wall: how urgent one is, and that a wall forgets.
 *
 * Owns ranks and the bounded pool of candidates. Does not own which of them are on screen now (`chosen.ts`).
 */
import type { Item } from './protocol';

export const RANK = { low: 0, normal: 1, high: 2, critical: 3 } as const;

/** A mention loses one level of urgency for each so many ms: an old crisis gives way to a new one. */
export const LEVEL_LASTS = 15 * 60_000;

/** Candidates kept. The server sends 50 in a snapshot; ten more leave room for what came since. */
export const POOL = 60;

/** Level at `now` (ms, server clock): rank less its age, so 3 is critical and fresh, below 0 is long past. */
export function level(item: Item, now: number): number {
  return RANK[item.urgency] - Math.floor(Math.max(0, now - item.published) / LEVEL_LASTS);
}

/** Sort order: most urgent first, then newest, then by id so that equal inputs give equal walls. */
export function moreUrgent(a: Item, b: Item, now: number): number {
  return level(b, now) - level(a, now) || b.published - a.published || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** Return `pool` with `arrived` put in (the same id replaces: an edit) and `gone` taken out, at most POOL, in order. */
export function pooled(pool: readonly Item[], arrived: readonly Item[], gone: readonly string[], now: number): Item[] {
  const byId = new Map(pool.map((item) => [item.id, item]));
  for (const item of arrived) byId.set(item.id, item);
  // Last on purpose: where one frame holds both, the deletion wins.
  for (const id of gone) byId.delete(id);
  return [...byId.values()].sort((a, b) => moreUrgent(a, b, now)).slice(0, POOL);
}
