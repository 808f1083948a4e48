/**
 * The connection of one wall: snapshot over HTTP, then deltas over a WebSocket, for ever.
 *
 * Owns when to load, connect, resume, resync and wait. Does not own what frames mean (`state.ts`), the age of what is
 * shown (`freshness.ts`) or the page: no DOM here. Every wait is jittered, so that a thousand screens whose server came
 * back do not come back at once. It goes on whether the page is hidden or not: a covered wall must not fall behind.
 */
import type { AnyFrame, Realm, Snapshot } from './protocol';
import { STALE_AFTER } from './freshness';
import { advance, begin, type WallState } from './state';

/** All in ms. */
export interface Pace {
  /** Without a frame for so long a socket is given up. */
  readonly silence: number;
  readonly retryLeast: number;
  readonly retryMost: number;
  readonly loadTimeout: number;
  /** Data older than this is not resumed but loaded anew. */
  readonly staleAfter: number;
  /** How often an auto wall may ask whether it should show live by now. */
  readonly switchEvery: number;
}

export const PACE: Pace = {
  silence: 6_000,
  retryLeast: 500,
  retryMost: 20_000,
  loadTimeout: 10_000,
  staleAfter: STALE_AFTER,
  switchEvery: 60_000,
};

/** The part of a browser's WebSocket that is used here. */
export interface Socket {
  addEventListener(type: 'message', heard: (event: { readonly data: unknown }) => void): void;
  addEventListener(type: 'close' | 'error', heard: () => void): void;
  close(): void;
}

export interface FeedOptions {
  /** `http://host:port`. */
  readonly origin: string;
  readonly realm: Realm | 'auto';
  readonly hz: number;
  readonly open: (url: string) => Socket;
  readonly fetch: (url: string, init: { signal: AbortSignal; cache: 'no-cache' }) => Promise<Response>;
  /** A monotonic clock, ms. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
  readonly pace?: Partial<Pace>;
  /** A new state; `proved` where a frame of the socket confirmed it, false for a snapshot that nothing followed yet. */
  readonly onState: (state: WallState, proved: boolean) => void;
  /** The build that the server serves. */
  readonly onBuild: (hash: string) => void;
  /** What the connection does now, in words for the pill's second line; empty while all is well. */
  readonly onTrouble: (what: string) => void;
}

export class Feed {
  readonly #options: FeedOptions;
  readonly #pace: Pace;
  #state: WallState | null = null;
  #socket: Socket | null = null;
  #loading: AbortController | null = null;
  #wait: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #provedAt = -Infinity;
  #switchedAt = -Infinity;
  #notBefore = 0;
  #closed = false;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#pace = { ...PACE, ...options.pace };
  }

  start(): void {
    void this.#load();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#wait);
    this.#loading?.abort();
    this.#drop();
  }

  async #load(): Promise<void> {
    const { origin, realm, fetch } = this.#options;
    const loading = new AbortController();
    this.#loading = loading;
    const late = setTimeout(() => loading.abort(), this.#pace.loadTimeout);
    try {
      const url = `${origin}/api/wall/${realm}/snapshot`;
      const answer = await fetch(url, { signal: loading.signal, cache: 'no-cache' });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const body: unknown = await answer.json();
      if (this.#closed) return;
      // First, for a snapshot of another version is what this page must reload for.
      const build = buildOf(body);
      if (build !== '') this.#options.onBuild(build);
      this.#begin(asSnapshot(body));
    } catch (error) {
      const why = loading.signal.aborted ? 'the server does not answer' : wordsOf(error);
      if (!this.#closed) this.#again(() => void this.#load(), why);
    } finally {
      clearTimeout(late);
    }
  }

  #begin(snap: Snapshot): void {
    this.#state = begin(snap);
    this.#options.onState(this.#state, false);
    this.#connect();
  }

  #connect(): void {
    const state = this.#state;
    if (state === null) return void this.#load();
    const { origin, hz, open } = this.#options;
    const place = `epoch=${encodeURIComponent(state.epoch)}&from=${state.seq + 1}&hz=${hz}`;
    const socket = open(`${origin.replace(/^http/, 'ws')}/ws?ch=wall:${state.realm}&${place}`);
    this.#socket = socket;
    // Whatever a socket that was let go still brings, or when it at last closes, is no news: hence the comparisons.
    socket.addEventListener('message', ({ data }) => socket === this.#socket && this.#hear(data));
    socket.addEventListener('close', () => socket === this.#socket && this.#lost('the connection was lost'));
    socket.addEventListener('error', () => undefined); // a close follows, and says all there is to say
    this.#listen();
  }

  /** Anything heard restarts the clock of silence; a connect that hangs is a silence too. */
  #listen(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lost('the server fell silent'), this.#pace.silence);
  }

  #hear(data: unknown): void {
    this.#listen();
    const frame = asFrame(data);
    if (frame === null) return this.#resync(this.#pace.retryLeast, 'an unreadable frame came');
    switch (frame.t) {
      case 'd':
      case 'hb':
        return this.#advance(frame);
      case 'resync':
        return this.#resync(frame.within_ms ?? 3_000, '');
      case 'bye':
        this.#notBefore = frame.retry_ms;
        return this.#lost('the server restarts');
      case 'build':
        return this.#options.onBuild(frame.hash);
    }
  }

  #advance(frame: Extract<AnyFrame, { t: 'd' | 'hb' }>): void {
    const before = this.#state;
    if (before === null) return;
    const step = advance(before, frame);
    if ('resync' in step) return this.#resync(this.#pace.retryLeast, '');
    this.#state = step.state;
    this.#failures = 0;
    this.#provedAt = this.#options.now();
    this.#options.onTrouble('');
    this.#options.onState(step.state, true);
    if (frame.t === 'd' && frame.live_seen === true && before.realm === 'rehearsal') this.#switch();
  }

  /** An auto wall that rehearses goes to live; not more often than a minute, should the server not agree. */
  #switch(): void {
    const now = this.#options.now();
    if (this.#options.realm !== 'auto' || now - this.#switchedAt < this.#pace.switchEvery) return;
    this.#switchedAt = now;
    this.#resync(3_000, '');
  }

  /** Load a snapshot within `within` ms; later, should the last one not have led to a single frame. */
  #resync(within: number, why: string): void {
    this.#drop();
    if (this.#failures > 0) return this.#again(() => void this.#load(), why);
    this.#failures += 1;
    this.#wait = setTimeout(() => void this.#load(), this.#options.random() * within);
  }

  #lost(why: string): void {
    this.#drop();
    this.#again(() => this.#resume(), why);
  }

  /** Go on from where we are, or from a snapshot where that was too long ago. */
  #resume(): void {
    if (this.#options.now() - this.#provedAt > this.#pace.staleAfter) void this.#load();
    else this.#connect();
  }

  /** Full jitter between the least wait and a cap that doubles. */
  #again(what: () => void, why: string): void {
    const { retryLeast, retryMost } = this.#pace;
    const cap = Math.min(retryMost, retryLeast * 2 ** Math.min(this.#failures + 1, 16));
    const wait = this.#notBefore + retryLeast + this.#options.random() * (cap - retryLeast);
    this.#notBefore = 0;
    this.#failures += 1;
    this.#options.onTrouble(why);
    clearTimeout(this.#wait);
    this.#wait = setTimeout(what, wait);
  }

  #drop(): void {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}

const KINDS = new Set(['d', 'hb', 'resync', 'bye', 'build']);

/** A frame of a kind that we know; null for anything else. A server of another version says so in its snapshot. */
function asFrame(data: unknown): Exclude<AnyFrame, Snapshot> | null {
  if (typeof data !== 'string') return null;
  try {
    const frame = JSON.parse(data) as { t?: unknown } | null;
    return frame !== null && typeof frame.t === 'string' && KINDS.has(frame.t)
      ? (frame as Exclude<AnyFrame, Snapshot>)
      : null;
  } catch {
    return null;
  }
}

/** The build that a snapshot of any version names; empty where it names none. */
function buildOf(body: unknown): string {
  const build = (body as { build?: unknown } | null)?.build;
  return typeof build === 'string' ? build : '';
}

function asSnapshot(body: unknown): Snapshot {
  const snap = body as Partial<Snapshot> | null;
  if (snap?.t !== 'snap' || snap.v !== 1) throw new Error('the server speaks another version; reload this page');
  return snap as Snapshot;
}

function wordsOf(error: unknown): string {
  return error instanceof TypeError ? 'the server cannot be reached' : error instanceof Error ? error.message : 'failed';
}
