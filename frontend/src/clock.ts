/**
 * The server's time, estimated from the frames it sends: a wall box with a wrong clock shows right ages all the same.
 *
 * Owns the offset. Does not own timers: the caller passes readings of a monotonic clock, in ms, so a wrong clock of the
 * box, or one that is set, moves nothing for longer than until the next frame. The least of (received - ts) over the
 * last frames is the one that waited least in a buffer; a frame that hung in a proxy for ten seconds therefore looks
 * ten seconds old.
 */

/** Samples that count. At five frames a second this is half a minute, after which a step of the server's clock heals. */
const SAMPLES = 150;

export class ServerClock {
  #offsets: number[] = [];
  #offset: number | null = null;

  /** Learn that a frame stamped `ts` (server, ms) was received at `at` (monotonic, ms). */
  learn(ts: number, at: number): void {
    this.#offsets.push(at - ts);
    if (this.#offsets.length > SAMPLES) this.#offsets.shift();
    this.#offset = Math.min(...this.#offsets);
  }

  /** Forget all samples: another server, or a replay whose clock runs at its own speed. */
  forget(): void {
    this.#offsets = [];
  }

  /** Server time in ms at the monotonic reading `at`; null before the first frame. */
  now(at: number): number | null {
    return this.#offset === null ? null : at - this.#offset;
  }
}

/** The box's own clock does not run away from the monotonic one by more between two readings, ms, but in a sleep. */
const SLEPT = 5_000;

/**
 * A monotonic clock that goes on while the box sleeps: the browser's may stand still then, and what is shown would look
 * as young as before. The box's own clock tells; where it was but set forward, `woke` and the next frame mend that, too.
 */
export class Uptime {
  readonly #woke: () => void;
  #ahead: number | null = null;
  #slept = 0;

  constructor(woke: () => void) {
    this.#woke = woke;
  }

  now(monotonic = performance.now(), own = Date.now()): number {
    const ahead = own - monotonic;
    const slept = ahead - (this.#ahead ?? ahead);
    this.#ahead = ahead;
    if (slept > SLEPT) {
      this.#slept += slept;
      this.#woke();
    }
    return monotonic + this.#slept;
  }
}
