/** The feed against a real HTTP and WebSocket server: losses, kills, restarts, silence. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { Feed, type FeedOptions, type Pace } from '../src/socket';
import type { WallState } from '../src/state';
import { Backend, emptySnapshot } from './backend';
import { item } from './fixtures';

const FAST: Partial<Pace> = { silence: 250, retryLeast: 10, retryMost: 60, loadTimeout: 500, staleAfter: 60_000 };

let backend: Backend;
let feed: Feed | undefined;
let seen: WallState[];
let proved: boolean[];
let builds: string[];
let troubles: string[];

beforeEach(async () => {
  [seen, proved, builds, troubles] = [[], [], [], []];
  backend = await new Backend(emptySnapshot()).start();
});

afterEach(async () => {
  feed?.close();
  await backend.kill();
});

function follow(more: Partial<FeedOptions> = {}): void {
  feed = new Feed({
    origin: backend.origin,
    realm: 'live',
    hz: 5,
    open: (url) => new WebSocket(url) as unknown as ReturnType<FeedOptions['open']>,
    fetch: (url, init) => fetch(url, init),
    now: () => performance.now(),
    random: () => 0.3,
    onState: (state, proof) => {
      seen.push(state);
      proved.push(proof);
    },
    onBuild: (hash) => builds.push(hash),
    onTrouble: (what) => troubles.push(what),
    ...more,
    pace: { ...FAST, ...more.pace },
  });
  feed.start();
}

const state = (): WallState | undefined => seen.at(-1);
const heard = (total: number) => ({ figures: { ...backend.snapshot.figures, heard_today: total } });
const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 8_000, interval: 5 });
const connected = (): Promise<void> => until(() => expect(backend.clients).toBe(1));
const loads = (): number => backend.asked.filter((path) => path.endsWith('/snapshot')).length;
const total = (count: number): Promise<void> => until(() => expect(state()?.figures.heard_today).toBe(count));

describe('Feed', () => {
  it('loads a snapshot, connects where it ends, and applies what comes', async () => {
    follow();
    await connected();
    expect(backend.asked).toEqual(['/api/wall/live/snapshot', '/ws?ch=wall:live&epoch=e1&from=2&hz=5']);
    backend.push({ ...heard(7), ins: [item('a')] });
    await total(7);
    expect(state()?.items.map(({ id }) => id)).toEqual(['a']);
  });

  it('proves nothing by a snapshot, only by a frame of the socket', async () => {
    backend.beat = 0;
    await backend.kill();
    await backend.start();
    follow();
    await connected();
    expect(proved).toEqual([false]);
    backend.heartbeat();
    await until(() => expect(proved).toEqual([false, true]));
  });

  it('hears of another build from a snapshot whose version it cannot read', async () => {
    backend.snapshot = { ...emptySnapshot(), v: 2 as unknown as 1, build: 'b2' };
    follow();
    await until(() => expect(builds).toContain('b2'));
    expect(seen).toEqual([]);
  });

  it('resumes after a cut without a snapshot, and misses nothing', async () => {
    follow();
    await connected();
    backend.push(heard(1));
    await total(1);
    await backend.kill();
    backend.push(heard(2));
    backend.push(heard(3));
    await backend.start();
    await total(3);
    expect(loads()).toBe(1);
  });

  it('finds its way back to a server that was killed and has forgotten everything', async () => {
    follow();
    await connected();
    await backend.kill();
    backend.forget('e2');
    backend.snapshot = { ...backend.snapshot, seq: 1, figures: heard(42).figures };
    await backend.start();
    await until(() => expect(state()).toMatchObject({ epoch: 'e2', figures: { heard_today: 42 } }));
    await connected();
    backend.push(heard(43));
    await total(43);
  });

  it('shows the right totals through twenty kills', async () => {
    follow();
    await connected();
    for (let n = 1; n <= 20; n++) {
      backend.push(heard(n));
      await backend.kill();
      if (n % 3 === 0) backend.forget(`e${n}`);
      await backend.start();
      await total(n);
    }
  });

  it('loads a snapshot when a frame is missing', async () => {
    follow();
    await connected();
    backend.push(heard(1), true);
    backend.push(heard(2));
    await total(2);
    expect(loads()).toBe(2);
  });

  it('loads a snapshot when told to, when a frame cannot be read, and ignores kinds it does not know', async () => {
    follow();
    await connected();
    backend.send({ t: 'resync', reason: 'too slow', within_ms: 10 });
    await until(() => expect(loads()).toBe(2));
    await connected();
    backend.heartbeat();
    await until(() => expect(proved.at(-1)).toBe(true));
    backend.send('{"t":');
    await until(() => expect(loads()).toBe(3));
  });

  it('gives up a socket that fell silent', async () => {
    backend.beat = 0;
    await backend.kill();
    await backend.start();
    follow();
    await connected();
    await until(() => expect(troubles).toContain('the server fell silent'));
    await until(() => expect(backend.asked.filter((path) => path.startsWith('/ws')).length).toBeGreaterThan(1));
  });

  it('goes on for ever while the server is away, and says why', async () => {
    const port = backend.port;
    await backend.kill();
    follow({ origin: `http://127.0.0.1:${port}` });
    await until(() => expect(troubles.filter((what) => what === 'the server cannot be reached').length).toBeGreaterThan(4));
    await backend.start();
    await connected();
    backend.heartbeat();
    await until(() => expect(troubles.at(-1)).toBe(''));
  });

  it('names a refusal and tries again', async () => {
    backend.status = 503;
    follow();
    await until(() => expect(troubles).toContain('the server answered 503'));
    backend.status = 200;
    await connected();
  });

  it('comes back after a farewell, not before it was told', async () => {
    follow();
    await connected();
    const left = performance.now();
    backend.send({ t: 'bye', retry_ms: 200 });
    await until(() => expect(backend.asked.filter((path) => path.startsWith('/ws')).length).toBe(2));
    expect(performance.now() - left).toBeGreaterThanOrEqual(200);
  });

  it('loads anew, rather than resumes, where what it shows has become stale', async () => {
    follow({ pace: { staleAfter: 0 } });
    await connected();
    backend.heartbeat();
    await until(() => expect(proved.at(-1)).toBe(true));
    await backend.kill();
    await backend.start();
    await until(() => expect(loads()).toBe(2));
  });

  it('tells the build of the snapshot and of a frame', async () => {
    backend.snapshot = { ...backend.snapshot, build: 'b1' };
    follow();
    await connected();
    backend.send({ t: 'build', hash: 'b2' });
    await until(() => expect(builds).toEqual(['b1', 'b2']));
  });

  it('is silent after close', async () => {
    follow();
    await connected();
    feed?.close();
    await until(() => expect(backend.clients).toBe(0));
    const before = seen.length;
    backend.push(heard(5));
    await backend.kill();
    await backend.start();
    expect(seen.length).toBe(before);
  });
});

describe('an auto wall', () => {
  it('goes from rehearsal to live by itself once live mentions come', async () => {
    backend.snapshot = { ...emptySnapshot('rehearsal'), epoch: 'r' };
    follow({ realm: 'auto', random: () => 0.001 });
    await connected();
    expect(backend.asked[0]).toBe('/api/wall/auto/snapshot');
    expect(backend.asked[1]).toContain('ch=wall:rehearsal');
    backend.push({ live_seen: true });
    backend.snapshot = { ...emptySnapshot('live'), epoch: 'r' };
    await until(() => expect(state()?.realm).toBe('live'));
    await until(() => expect(backend.asked.at(-1)).toContain('ch=wall:live'));
  });

  it('does not ask again and again where the server stays with the rehearsal', async () => {
    backend.snapshot = emptySnapshot('rehearsal');
    follow({ realm: 'auto', random: () => 0.001 });
    await connected();
    backend.push({ live_seen: true });
    await until(() => expect(loads()).toBe(2));
    await connected();
    for (let n = 1; n <= 5; n++) backend.push({ ...heard(n), live_seen: true });
    await total(5);
    expect(loads()).toBe(2);
  });

  it('leaves a wall alone that was asked for by name', async () => {
    backend.snapshot = emptySnapshot('rehearsal');
    follow({ realm: 'rehearsal' });
    await connected();
    backend.push({ ...heard(1), live_seen: true });
    await total(1);
    backend.push({ ...heard(2), live_seen: true });
    await total(2);
    expect(loads()).toBe(1);
  });
});
