/**
 * One wall's life in the page: the feed's states, the server's time, what is on screen, and the housekeeping.
 *
 * Owns reactive fields that components read. Does not own decisions: they are the pure functions it calls.
 */
import { choose, NOTHING, type Choice } from './chosen';
import { ServerClock, Uptime } from './clock';
import { age, freshness, type Freshness, type Proof } from './freshness';
import type { Screen } from './screen';
import { Feed } from './socket';
import type { WallState } from './state';
import { faults, heap, mending, reload, reloadReason, shift } from './upkeep';

const TICK = 200;
const BUILD_WITHIN = 300_000;

export class Wall {
  state = $state.raw<WallState | null>(null);
  choice = $state.raw<Choice>(NOTHING);
  trouble = $state('');
  /** Server time, ms, once a second. */
  now = $state(Date.now());
  word = $state<Freshness>('connecting');
  /** The newest moment that was proved, ms of server time; null before the first. */
  proved = $state<number | null>(null);
  /** An error that no part of the page caught: what is shown may stand still, so it counts as stale until the reload. */
  broken = $state(false);
  /** Age of what is shown, ms, five times a second. */
  age = $state(0);
  shift = $state.raw({ x: 0, y: 0 });
  /** Mentions that fit on screen. */
  places = $state(3);

  readonly #screen: Screen;
  readonly #clock = new ServerClock();
  readonly #uptime = new Uptime(() => this.#clock.forget());
  readonly #loaded = this.#uptime.now();
  readonly #feed: Feed;
  #proof: Proof = { pulse: null, since: Date.now() };
  #ticker: ReturnType<typeof setInterval> | undefined;
  #reload: ReturnType<typeof setTimeout> | undefined;
  #ticks = 0;
  #turn = 0;
  #hour: (ms: number) => number = () => -1;

  constructor(screen: Screen) {
    this.#screen = screen;
    this.#feed = new Feed({
      origin: location.origin,
      realm: screen.realm,
      hz: screen.hz,
      open: (url) => new WebSocket(url),
      fetch: (url, init) => fetch(url, init),
      now: () => this.#uptime.now(),
      random: Math.random,
      onState: (state, proved) => this.#take(state, proved),
      onBuild: (hash) => this.#built(hash),
      onTrouble: (what) => (this.trouble = what),
    });
  }

  /** Begin; returns the end. */
  start(): () => void {
    this.#feed.start();
    this.#ticker = setInterval(() => this.#tick(), TICK);
    const deaf = faults((error) => this.#broke(error));
    return () => {
      deaf();
      this.#feed.close();
      clearInterval(this.#ticker);
      clearTimeout(this.#reload);
    };
  }

  #take(state: WallState, proved: boolean): void {
    const at = this.#uptime.now();
    const before = this.state;
    const other = before?.realm !== state.realm || before.epoch !== state.epoch;
    // A replay's clock runs at its own speed: only its last word counts.
    if (other || state.realm === 'replay') this.#clock.forget();
    this.#clock.learn(state.ts, at);
    if (other) this.#change(state, at);
    // A server that has just started knows no pulse yet: what was proved before stays the newest.
    if (proved) this.#proof = { ...this.#proof, pulse: state.pulse ?? this.#proof.pulse, ended: ended(state) };
    this.state = state;
    this.#look(at);
  }

  /** Another server or another wall. What the old one proved holds only for its own wall. */
  #change(state: WallState, at: number): void {
    const now = this.#clock.now(at) ?? state.ts;
    const same = this.state?.realm === state.realm;
    this.#proof = same ? this.#proof : { pulse: null, since: now };
    if (!same) this.choice = NOTHING;
    this.now = now;
    const zone = (this.#screen.zones ?? state.zones)[0]?.[1] ?? 'UTC';
    this.#hour = hourIn(zone);
  }

  /** Read the clock, and name the age of what is shown. */
  #look(at: number): void {
    const now = this.#clock.now(at) ?? Date.now();
    this.age = age(this.#proof, now);
    this.word = this.broken ? 'stale' : freshness(this.#proof, now);
    this.proved = this.#proof.pulse;
    // A stale wall does not take turns, or it would look alive; what is deleted still leaves it.
    if (this.word !== 'stale') this.#turn = at;
    if (this.state) this.choice = choose(this.choice, this.state.items, this.places, now, this.#turn);
  }

  #tick(): void {
    const at = this.#uptime.now();
    this.#look(at);
    this.#ticks += 1;
    if (this.#ticks % (1_000 / TICK) === 0) this.now = this.#clock.now(at) ?? Date.now();
    if (this.#ticks % (60_000 / TICK) === 0) this.#minute(at);
  }

  #minute(at: number): void {
    this.shift = shift(this.#ticks / (60_000 / TICK));
    const reason = reloadReason({
      up: at - this.#loaded,
      hour: this.#hour(this.now),
      quietHour: this.#screen.quietHour,
      heap: heap(),
      busy: this.state?.alerts.some((alert) => alert.state === 'firing') ?? false,
    });
    if (reason !== null) this.#planReload(reason === 'memory' ? 5_000 : BUILD_WITHIN);
  }

  #built(hash: string): void {
    if (hash !== '' && hash !== __BUILD__) this.#planReload(BUILD_WITHIN);
  }

  /** A part of the page failed, and says so in its place; only a reload brings it back. */
  readonly failed = (error: unknown): void => {
    console.error(error);
    this.#planReload(60_000, mending(this.#uptime.now() - this.#loaded));
  };

  #broke(error: unknown): void {
    if (this.broken) return;
    this.broken = true;
    this.word = 'stale';
    this.failed(error);
  }

  /** Spread over `within` ms, so that a hundred screens do not reload in one second; tried again while it fails. */
  #planReload(within: number, after = 0): void {
    if (this.#reload !== undefined) return;
    this.#reload = setTimeout(() => {
      void reload().then((done) => {
        this.#reload = undefined;
        if (!done) this.#planReload(60_000);
      });
    }, after + Math.random() * within);
  }
}

function ended(state: WallState): boolean {
  return state.sources.length > 0 && state.sources.every((source) => source.status === 'finished');
}

function hourIn(zone: string): (ms: number) => number {
  try {
    const format = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', hourCycle: 'h23', timeZone: zone });
    return (ms) => Number(format.format(ms));
  } catch {
    return (ms) => new Date(ms).getUTCHours();
  }
}
