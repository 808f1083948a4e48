/**
 * A small server that speaks the wall's protocol, for tests and for looking at the page: real HTTP, real WebSockets.
 *
 * Owns a snapshot, a ring of frames, and faults on demand (kill, fall silent, forget the ring). Does not own what the
 * real hub counts: a test pushes the deltas that it wants seen.
 */
import { createReadStream, existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { WebSocketServer, type WebSocket } from 'ws';
import type { AnyFrame, Delta, Realm, Snapshot } from '../src/protocol';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** What a delta changes; the backend adds position and time. */
export type Change = Partial<Omit<Delta, 't' | 'epoch' | 'from' | 'seq' | 'ts'>>;

export class Backend {
  /** Requests seen, path and query. */
  readonly asked: string[] = [];
  /** Milliseconds between heartbeats; 0 for none. */
  beat = 100;
  /** Answer to the next snapshots in place of 200. */
  status = 200;
  snapshot: Snapshot;
  port = 0;
  #ring: Delta[] = [];
  #http: Server | null = null;
  #sockets = new Set<WebSocket>();
  #beats: ReturnType<typeof setInterval> | undefined;
  readonly #folder: string | null;

  /** `folder` holds a built page to serve; null serves none. */
  constructor(snapshot: Snapshot, folder: string | null = null) {
    this.snapshot = snapshot;
    this.#folder = folder;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Listen; on the port of last time, if there was one. */
  async start(): Promise<this> {
    const http = createServer((request, response) => this.#answer(request, response));
    const live = new WebSocketServer({ server: http, path: '/ws', perMessageDeflate: false });
    live.on('connection', (socket, request) => this.#greet(socket, request));
    await new Promise<void>((done, failed) => http.once('error', failed).listen(this.port, '127.0.0.1', done));
    this.port = (http.address() as AddressInfo).port;
    this.#http = http;
    if (this.beat > 0) this.#beats = setInterval(() => this.heartbeat(), this.beat);
    return this;
  }

  /** Die as a killed process does: every connection is cut without a word. */
  async kill(): Promise<void> {
    clearInterval(this.#beats);
    for (const socket of this.#sockets) socket.terminate();
    this.#sockets.clear();
    const http = this.#http;
    this.#http = null;
    http?.closeAllConnections();
    if (http) await new Promise((done) => http.close(done));
  }

  /** Be another process: a new epoch and an empty ring, the same content. */
  forget(epoch: string): void {
    this.#ring = [];
    this.snapshot = { ...this.snapshot, epoch };
  }

  get clients(): number {
    return this.#sockets.size;
  }

  /** Move the state on and tell every socket; `lose` keeps the frame from them and from the ring. */
  push(change: Change, lose = false): Delta {
    const from = this.snapshot.seq;
    const ts = change.pulse ?? Date.now();
    const delta: Delta = { t: 'd', epoch: this.snapshot.epoch, from, seq: from + 1, ts, pulse: ts, ...change };
    this.snapshot = moved(this.snapshot, delta);
    if (!lose) {
      this.#ring.push(delta);
      this.send(delta);
    }
    return delta;
  }

  heartbeat(): void {
    const { epoch, seq } = this.snapshot;
    this.send({ t: 'hb', epoch, seq, ts: Date.now(), pulse: this.snapshot.pulse });
  }

  send(frame: Exclude<AnyFrame, Snapshot> | string): void {
    const text = typeof frame === 'string' ? frame : JSON.stringify(frame);
    for (const socket of this.#sockets) socket.send(text);
  }

  #greet(socket: WebSocket, request: IncomingMessage): void {
    this.asked.push(request.url ?? '');
    const place = new URL(request.url ?? '', this.origin).searchParams;
    const seq = Number(place.get('from')) - 1;
    const missed = this.#ring.filter((delta) => delta.seq > seq);
    const known = seq === this.snapshot.seq || missed[0]?.from === seq;
    if (place.get('epoch') !== this.snapshot.epoch || !known) {
      socket.send(JSON.stringify({ t: 'resync', reason: 'unknown position', within_ms: 20 }));
      socket.close();
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    for (const delta of missed) socket.send(JSON.stringify(delta));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = new URL(request.url ?? '/', this.origin).pathname;
    this.asked.push(path);
    if (/^\/api\/wall\/[a-z]+\/snapshot$/.test(path)) {
      response.writeHead(this.status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ ...this.snapshot, ts: Date.now() }));
      return;
    }
    this.#file(path, response);
  }

  #file(path: string, response: ServerResponse): void {
    const folder = this.#folder;
    const found = folder === null ? '' : join(folder, normalize(extname(path) === '' ? '/index.html' : path));
    if (folder === null || !found.startsWith(folder) || !existsSync(found)) {
      response.writeHead(404).end();
      return;
    }
    // As strict as a server may be: no inline script, no inline style, nothing from elsewhere.
    const policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    const type = TYPES[extname(found)] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'content-security-policy': policy });
    createReadStream(found).pipe(response);
  }
}

/** The snapshot after a delta: written apart from `src/state.ts`, so that tests compare two accounts of one story. */
function moved(snap: Snapshot, delta: Delta): Snapshot {
  const gone = new Set(delta.gone ?? []);
  const changed = new Set((delta.ins ?? []).map((item) => item.id));
  const minutes = new Map([...snap.minutes, ...(delta.minutes ?? [])].map((minute) => [minute.at, minute]));
  return {
    ...snap,
    seq: delta.seq,
    pulse: delta.pulse,
    live_seen: delta.live_seen ?? snap.live_seen,
    figures: delta.figures ?? snap.figures,
    usual: delta.usual ?? snap.usual,
    minutes: [...minutes.values()].sort((a, b) => a.at - b.at).slice(-60),
    items: [...(delta.ins ?? []), ...snap.items.filter((item) => !changed.has(item.id))].filter((item) => !gone.has(item.id)),
    alerts: delta.alerts ?? snap.alerts,
    sources: delta.sources ?? snap.sources,
  };
}

/** A snapshot of an empty wall. */
export function emptySnapshot(realm: Realm = 'live', now = Date.now()): Snapshot {
  return {
    t: 'snap',
    v: 1,
    epoch: 'e1',
    seq: 1,
    ts: now,
    build: '',
    pulse: now,
    realm,
    live_seen: realm === 'live',
    title: 'War Room',
    zones: [
      ['Jerusalem', 'Asia/Jerusalem'],
      ['Tehran', 'Asia/Tehran'],
      ['UTC', 'UTC'],
    ],
    figures: {
      per_minute: 0,
      per_minute_usual: null,
      negative: null,
      negative_usual: null,
      urgent: 0,
      urgent_oldest: null,
      delay_p95: null,
      heard_today: 0,
      stored_total: 0,
    },
    minutes: [],
    usual: null,
    items: [],
    alerts: [],
    sources: [],
  };
}
