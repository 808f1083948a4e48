/**
 * How old what the wall shows is, and the word for it.
 *
 * Owns the limits and the words. Does not own the measurement: `age` counts from the newest sign of life that passed the
 * whole pipeline, so a dead ingest or a lagging scorer makes the wall old although the server still talks.
 */
import type { Realm } from './protocol';

export type Freshness = 'connecting' | 'live' | 'delayed' | 'stale' | 'ended';

export const DELAYED_AFTER = 3_000;
export const STALE_AFTER = 15_000;

/** What was proved last, and when the page began to wait for it. All ms of the same (server) clock. */
export interface Proof {
  /** Pulse of the last frame that a socket brought and that fitted our state; null before the first. */
  readonly pulse: number | null;
  /** When the page, or this wall, began to wait. */
  readonly since: number;
  /** Every source has said that it came to its end (a file, a replay): nothing more is awaited. */
  readonly ended?: boolean;
}

/** Age in ms of what is shown at `now`; counted from the beginning of the wait while nothing was proved. */
export function age(proof: Proof, now: number): number {
  return Math.max(0, now - (proof.pulse ?? proof.since));
}

/** The word for it. Only a frame that proves newer data makes a stale wall fresh again, never an open socket. */
export function freshness(proof: Proof, now: number): Freshness {
  if (proof.ended === true) return 'ended';
  const old = age(proof, now);
  if (old >= STALE_AFTER) return 'stale';
  if (proof.pulse === null) return 'connecting';
  return old >= DELAYED_AFTER ? 'delayed' : 'live';
}

/** What the pill says. Only real data may be called LIVE: a rehearsal or replay that keeps up is ON TIME. */
export function pillWord(word: Freshness, realm: Realm): string {
  if (word === 'live') return realm === 'live' ? 'LIVE' : 'ON TIME';
  return { connecting: 'CONNECTING', delayed: 'DELAYED', stale: '✖\uFE0E STALE', ended: 'ENDED' }[word];
}
