// Generated from app/frames.py by `python -m app.protocol`. Do not edit: change the Python models and run it again.

export type Realm = "live" | "rehearsal" | "replay";

/**
 * The KPI tiles. `delay_p95` is seconds from receipt to frame; None until something was measured.
 */
export interface Figures {
  per_minute: number;
  per_minute_usual: Usual | null;
  negative: number | null;
  negative_usual: Usual | null;
  urgent: number;
  urgent_oldest: number | null;
  delay_p95: number | null;
  heard_today: number;
  stored_total: number;
}

/**
 * A chosen mention. `id` is stable for an identity: a later item of the same id replaces it (an edit).
 *
 * `marks` are [start, end) spans of matched words in UTF-16 code units of `text`.
 */
export interface Item {
  id: string;
  source: string;
  kind: string;
  author: string;
  text: string;
  lang: string | null;
  url: string | null;
  sentiment: "negative" | "neutral" | "positive";
  urgency: "low" | "normal" | "high" | "critical";
  intent: string;
  queries: string[];
  published: number;
  received: number;
  marks: [number, number][];
}

/**
 * One minute of the chart: its start, all mentions and the negative ones.
 */
export interface Minute {
  at: number;
  total: number;
  negative: number;
}

/**
 * What is expected, from the history of the same figure: its median and a robust band around it.
 *
 * None in its place means too little history.
 */
export interface Usual {
  low: number;
  middle: number;
  high: number;
}

/**
 * An open alert, or one that was resolved in the last minutes. `title` may be in any language.
 */
export interface WallAlert {
  id: string;
  title: string;
  severity: 1 | 2 | 3;
  state: "firing" | "acknowledged" | "resolved" | "no_data";
  started: number;
  changed: number;
  by: string;
  reason: string;
  count: number;
  realm: Realm;
}

/**
 * A source with its own age. `status` is the source's word; `last` the time of its last mention, None before it.
 */
export interface WallSource {
  id: string;
  kind: string;
  realm: Realm;
  status: "live" | "stalled" | "unreachable" | "finished" | "lost";
  detail: string;
  last: number | null;
  received: number;
  matched: number;
  duplicated: number;
  dead: number;
  late: number;
  gaps: number;
  reconnects: number;
}

/**
 * The whole wall at (epoch, seq): what `GET /api/wall/{realm}/snapshot` answers.
 */
export interface Snapshot {
  t: "snap";
  v: 1;
  epoch: string;
  seq: number;
  ts: number;
  build: string;
  pulse: number | null;
  realm: Realm;
  live_seen: boolean;
  title: string;
  zones: [string, string][];
  figures: Figures;
  minutes: Minute[];
  usual: Usual | null;
  items: Item[];
  alerts: WallAlert[];
  sources: WallSource[];
}

/**
 * What changed in (from, seq]. Figures, alerts and sources are whole and replace; None means unchanged.
 *
 * `ins` are the most urgent of what came (at most 10), `more` counts the rest; `gone` are ids to remove at once.
 * `minutes` are the minutes whose counts changed.
 */
export interface Delta {
  t: "d";
  epoch: string;
  from: number;
  seq: number;
  ts: number;
  pulse: number | null;
  ins?: Item[];
  more?: number;
  gone?: string[];
  figures?: Figures | null;
  minutes?: Minute[];
  usual?: Usual | null;
  alerts?: WallAlert[] | null;
  sources?: WallSource[] | null;
  live_seen?: boolean;
}

/**
 * Sent every 2 s when nothing changed: the server lives and its clock says `ts`.
 */
export interface Heartbeat {
  t: "hb";
  epoch: string;
  seq: number;
  ts: number;
  pulse: number | null;
}

/**
 * Load the snapshot again, after a random delay of at most `within_ms`.
 */
export interface Resync {
  t: "resync";
  reason: string;
  within_ms?: number;
}

/**
 * The server stops; come back not before `retry_ms`.
 */
export interface Bye {
  t: "bye";
  retry_ms: number;
}

/**
 * The front end's build hash; a page of another build reloads within five minutes.
 */
export interface Build {
  t: "build";
  hash: string;
}

export type AnyFrame = Snapshot | Delta | Heartbeat | Resync | Bye | Build;
