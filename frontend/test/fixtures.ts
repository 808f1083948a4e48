/** Small valid values for tests; each test says what matters to it. */
import type { Item, WallAlert, WallSource } from '../src/protocol';

export const NOW = Date.UTC(2026, 10, 22, 12, 0, 30);

export function item(id: string, more: Partial<Item> = {}): Item {
  return {
    id,
    source: 'bluesky',
    kind: 'bluesky',
    author: 'Dana',
    text: `text of ${id.replaceAll(/\d/g, (digit) => String.fromCharCode(97 + Number(digit)))}`,
    lang: 'en',
    url: null,
    sentiment: 'neutral',
    urgency: 'normal',
    intent: 'other',
    queries: ['q'],
    published: NOW - 5_000,
    received: NOW - 4_000,
    marks: [],
    ...more,
  };
}

export function alert(id: string, more: Partial<WallAlert> = {}): WallAlert {
  return {
    id,
    title: id,
    severity: 2,
    state: 'firing',
    started: NOW - 240_000,
    changed: NOW - 60_000,
    by: '',
    reason: '',
    count: 0,
    realm: 'live',
    ...more,
  };
}

export function source(id: string, more: Partial<WallSource> = {}): WallSource {
  return {
    id,
    kind: 'bluesky',
    realm: 'live',
    status: 'live',
    detail: '',
    last: NOW - 2_000,
    received: 10,
    matched: 5,
    duplicated: 0,
    dead: 0,
    late: 0,
    gaps: 0,
    reconnects: 0,
    ...more,
  };
}

/** A small seeded generator (mulberry32): the same seed, the same story. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
