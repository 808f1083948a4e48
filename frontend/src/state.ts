/**
 * The wall's state as a pure reducer over frames: a snapshot begins it, each delta advances it or asks for a resync.
 *
 * Owns what a frame does to the state and that every list is bounded. Does not own sockets, clocks or drawing. Same
 * frames, same state: `test/state.test.ts` drops, repeats and reorders frames and compares totals.
 */
import type { Delta, Figures, Heartbeat, Item, Minute, Realm, Snapshot, Usual, WallAlert, WallSource } from './protocol';
import { pooled } from './urgency';

export const MINUTE = 60_000;

/** Minutes kept: the last hour, the running minute, and slack for a late correction. */
export const MINUTES = 64;

export interface WallState {
  readonly epoch: string;
  readonly seq: number;
  /** Server time of the last frame, ms. */
  readonly ts: number;
  /** When the newest sign of life that passed the whole pipeline was sent, ms; null before the first. */
  readonly pulse: number | null;
  readonly realm: Realm;
  readonly liveSeen: boolean;
  readonly title: string;
  readonly zones: readonly (readonly [string, string])[];
  readonly figures: Figures;
  /** Oldest first, one a minute, at most MINUTES. */
  readonly minutes: readonly Minute[];
  readonly usual: Usual | null;
  /** Candidates, most urgent first, at most POOL. */
  readonly items: readonly Item[];
  readonly alerts: readonly WallAlert[];
  readonly sources: readonly WallSource[];
}

/** What a frame came to: the next state (the same object when it said nothing new), or why a snapshot is needed. */
export type Step = { readonly state: WallState } | { readonly resync: string };

/** Return the state that a snapshot describes. */
export function begin(snap: Snapshot): WallState {
  return {
    epoch: snap.epoch,
    seq: snap.seq,
    ts: snap.ts,
    pulse: snap.pulse,
    realm: snap.realm,
    liveSeen: snap.live_seen,
    title: snap.title,
    zones: snap.zones,
    figures: snap.figures,
    minutes: lastMinutes([], snap.minutes),
    usual: snap.usual,
    items: pooled([], snap.items, [], snap.ts),
    alerts: snap.alerts,
    sources: snap.sources,
  };
}

/**
 * Return what a delta or heartbeat makes of `state`.
 *
 * A delta holds absolute content of (from, seq]: it applies where from <= ours < seq, is old news where seq <= ours, and
 * anything else means that a frame is missing.
 */
export function advance(state: WallState, frame: Delta | Heartbeat): Step {
  if (frame.epoch !== state.epoch) return { resync: 'another epoch' };
  if (frame.t === 'hb') {
    if (frame.seq > state.seq) return { resync: `at ${state.seq}, the server at ${frame.seq}` };
    return { state: { ...state, ts: frame.ts, pulse: frame.pulse } };
  }
  if (frame.seq <= state.seq) return { state };
  if (frame.from > state.seq) return { resync: `at ${state.seq}, the frame from ${frame.from}` };
  return { state: applied(state, frame) };
}

function applied(state: WallState, delta: Delta): WallState {
  const arrived = delta.ins ?? [];
  const gone = delta.gone ?? [];
  const minutes = delta.minutes ?? [];
  return {
    ...state,
    seq: delta.seq,
    ts: delta.ts,
    pulse: delta.pulse,
    liveSeen: delta.live_seen ?? state.liveSeen,
    figures: delta.figures ?? state.figures,
    minutes: minutes.length > 0 ? lastMinutes(state.minutes, minutes) : state.minutes,
    usual: delta.usual ?? state.usual,
    items: arrived.length > 0 || gone.length > 0 ? pooled(state.items, arrived, gone, delta.ts) : state.items,
    alerts: delta.alerts ?? state.alerts,
    sources: delta.sources ?? state.sources,
  };
}

/** Merge by the minute's start; a later value replaces. */
function lastMinutes(known: readonly Minute[], changed: readonly Minute[]): readonly Minute[] {
  const byStart = new Map(known.map((minute) => [minute.at, minute]));
  for (const minute of changed) byStart.set(minute.at, minute);
  return [...byStart.values()].sort((a, b) => a.at - b.at).slice(-MINUTES);
}
