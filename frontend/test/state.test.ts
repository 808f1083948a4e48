import { describe, expect, it } from 'vitest';
import type { Delta, Minute } from '../src/protocol';
import { advance, begin, MINUTE, MINUTES, type WallState } from '../src/state';
import { POOL } from '../src/urgency';
import { emptySnapshot } from './backend';
import { item, NOW, seeded } from './fixtures';

const SNAP = { ...emptySnapshot('live', NOW), seq: 10 };

function delta(seq: number, more: Partial<Delta> = {}): Delta {
  return { t: 'd', epoch: 'e1', from: seq - 1, seq, ts: NOW + seq * 200, pulse: NOW + seq * 200, ...more };
}

function next(state: WallState, frame: Delta): WallState {
  const step = advance(state, frame);
  if ('resync' in step) throw new Error(step.resync);
  return step.state;
}

/** A story of `length` frames that counts mentions up, with the truth kept apart. */
function story(length: number, random: () => number): { frames: Delta[]; heard: number[] } {
  const frames: Delta[] = [];
  const heard: number[] = [];
  let total = 0;
  for (let n = 0; n < length; n++) {
    total += Math.floor(random() * 40);
    heard.push(total);
    const minute: Minute = { at: NOW - (NOW % MINUTE), total, negative: 0 };
    const figures = { ...SNAP.figures, heard_today: total };
    frames.push(delta(SNAP.seq + 1 + n, { figures, minutes: [minute], ins: [item(`m${n}`)] }));
  }
  return { frames, heard };
}

describe('advance', () => {
  it('applies what fits and keeps what a frame does not mention', () => {
    const state = next(begin({ ...SNAP, title: 'Kefel' }), delta(11, { ins: [item('a')] }));
    expect(state).toMatchObject({ seq: 11, title: 'Kefel', figures: SNAP.figures, pulse: NOW + 2_200 });
    expect(state.items.map(({ id }) => id)).toEqual(['a']);
  });

  it('applies an overlap, for content is absolute', () => {
    const state = begin(SNAP);
    expect(next(state, delta(12, { from: 8 })).seq).toBe(12);
  });

  it('ignores what it has', () => {
    const state = begin(SNAP);
    expect(advance(state, delta(10))).toEqual({ state });
    expect(advance(state, delta(4))).toEqual({ state });
  });

  it('asks for a resync at a gap, another epoch, or a heartbeat that is ahead', () => {
    const state = begin(SNAP);
    expect(advance(state, delta(13))).toHaveProperty('resync');
    expect(advance(state, delta(11, { epoch: 'e2' }))).toHaveProperty('resync');
    expect(advance(state, { t: 'hb', epoch: 'e1', seq: 11, ts: NOW, pulse: null })).toHaveProperty('resync');
    expect(advance(state, { t: 'hb', epoch: 'e2', seq: 10, ts: NOW, pulse: null })).toHaveProperty('resync');
  });

  it('takes the time and the pulse from a heartbeat, and nothing else', () => {
    const state = begin(SNAP);
    const step = advance(state, { t: 'hb', epoch: 'e1', seq: 10, ts: NOW + 9, pulse: NOW + 1 });
    expect(step).toEqual({ state: { ...state, ts: NOW + 9, pulse: NOW + 1 } });
  });

  it('lets a deletion win over an insertion of the same frame, and removes at once', () => {
    const state = next(begin({ ...SNAP, items: [item('a'), item('b')] }), delta(11, { ins: [item('c')], gone: ['a', 'c'] }));
    expect(state.items.map(({ id }) => id)).toEqual(['b']);
  });

  it('replaces an edited mention', () => {
    const state = next(begin({ ...SNAP, items: [item('a')] }), delta(11, { ins: [item('a', { text: 'edited' })] }));
    expect(state.items.map(({ text }) => text)).toEqual(['edited']);
  });

  it('holds no more than its rings, whatever comes', () => {
    let state = begin(SNAP);
    for (let n = 1; n <= 500; n++) {
      const minute = { at: NOW + n * MINUTE, total: n, negative: 0 };
      state = next(state, delta(10 + n, { ins: [item(`m${n}`)], minutes: [minute] }));
    }
    expect(state.items.length).toBe(POOL);
    expect(state.minutes.length).toBe(MINUTES);
    expect(state.minutes.at(-1)?.total).toBe(500);
  });
});

describe('any loss, repetition or disorder of frames', () => {
  it('gives right totals or a resync, never wrong totals', () => {
    let resyncs = 0;
    for (let seed = 0; seed < 200; seed++) resyncs += follow(seed) ? 1 : 0;
    // The stories must hold losses, or this test would say nothing.
    expect(resyncs).toBeGreaterThan(50);
  });

  function follow(seed: number): boolean {
    const random = seeded(seed);
    const { frames, heard } = story(60, random);
    const loss = seed % 3 === 0 ? 0 : 0.03;
    const sent = frames.flatMap((frame) => (random() < loss ? [] : random() < 0.2 ? [frame, frame] : [frame]));
    if (seed % 2 === 0) sent.splice(Math.floor(random() * sent.length), 0, ...sent.splice(5, 2));
    let state = begin(SNAP);
    for (const frame of sent) {
      const step = advance(state, frame);
      if ('resync' in step) return true;
      state = step.state;
      const truth = state.seq === SNAP.seq ? 0 : heard[state.seq - SNAP.seq - 1];
      expect(state.figures.heard_today, `seed ${seed}`).toBe(truth);
      expect(state.minutes.at(-1)?.total ?? 0, `seed ${seed}`).toBe(truth);
    }
    // No resync: then nothing was missed up to the newest frame that came.
    const newest = Math.max(...sent.map(({ seq }) => seq));
    expect(state.seq, `seed ${seed}`).toBe(newest);
    expect(new Set(sent.map(({ seq }) => seq)).size, `seed ${seed}`).toBe(newest - SNAP.seq);
    return false;
  }
});
