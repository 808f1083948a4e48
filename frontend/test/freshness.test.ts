import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { age, DELAYED_AFTER, freshness, pillWord, STALE_AFTER, type Freshness } from '../src/freshness';

beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }));
afterEach(() => void vi.useRealTimers());

describe('freshness', () => {
  it('goes from live to delayed to stale as time passes, and back with the next proof', () => {
    let proof = { pulse: Date.now(), since: Date.now() };
    const words: Freshness[] = [];
    const ticker = setInterval(() => words.push(freshness(proof, Date.now())), 1_000);
    vi.advanceTimersByTime(20_000);
    expect(words.indexOf('delayed')).toBe(DELAYED_AFTER / 1_000 - 1);
    expect(words.indexOf('stale')).toBe(STALE_AFTER / 1_000 - 1);
    proof = { ...proof, pulse: Date.now() };
    expect(freshness(proof, Date.now())).toBe('live');
    clearInterval(ticker);
  });

  it('is neither live nor stale once every source has ended', () => {
    const proof = { pulse: Date.now() - 60_000, since: 0, ended: true };
    expect(freshness(proof, Date.now())).toBe('ended');
    expect(pillWord('ended', 'replay')).toBe('ENDED');
  });

  it('is never live before something was proved', () => {
    const proof = { pulse: null, since: Date.now() };
    expect(freshness(proof, Date.now())).toBe('connecting');
    vi.advanceTimersByTime(STALE_AFTER);
    expect(freshness(proof, Date.now())).toBe('stale');
  });

  it('counts from timestamps, so a page that slept for an hour is stale at its first tick', () => {
    const proof = { pulse: Date.now(), since: Date.now() };
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(freshness(proof, Date.now())).toBe('stale');
    expect(age(proof, Date.now())).toBe(3_600_000);
  });

  it('does not become negative where clocks disagree', () => {
    expect(age({ pulse: Date.now() + 500, since: 0 }, Date.now())).toBe(0);
  });
});

describe('pillWord', () => {
  it('calls only real data live', () => {
    expect(pillWord('live', 'live')).toBe('LIVE');
    expect(pillWord('live', 'rehearsal')).not.toContain('LIVE');
    expect(pillWord('live', 'replay')).not.toContain('LIVE');
    expect(pillWord('stale', 'live')).toContain('STALE');
  });
});
