/**
 * Alerts as lines: order, words, ages.
 *
 * Owns wording and order. Does not own states (the engine) or drawing. Severity 1 is the worst.
 */
import type { WallAlert } from './protocol';
import { ago, things } from './format';
import { visible } from './text';

export interface AlertLine {
  readonly id: string;
  readonly title: string;
  readonly severity: number;
  /** The severity in a word. */
  readonly word: string;
  readonly state: WallAlert['state'];
  /** The state in words, with who took it. */
  readonly says: string;
  readonly age: string;
  readonly reason: string;
  readonly realm: string;
  readonly tone: 'critical' | 'warning' | 'plain';
}

const WORDS = { 1: 'critical', 2: 'warning', 3: 'notice' } as const;
const ORDER = { firing: 0, no_data: 1, acknowledged: 2, resolved: 3 } as const;

/** What nobody has taken comes first, then the most severe, then the newest. `now` in ms, server clock. */
export function alertLines(alerts: readonly WallAlert[], now: number): AlertLine[] {
  return [...alerts]
    .sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.severity - b.severity || b.started - a.started)
    .map((alert) => ({
      id: alert.id,
      title: visible(alert.title),
      severity: alert.severity,
      word: WORDS[alert.severity],
      state: alert.state,
      says: says(alert),
      age: ago(now - (alert.state === 'firing' || alert.state === 'acknowledged' ? alert.started : alert.changed)),
      reason: visible(alert.reason) || (alert.count > 0 ? things(alert.count, 'mention') : ''),
      realm: alert.realm === 'live' ? '' : alert.realm.toUpperCase(),
      tone: tone(alert),
    }));
}

/** Height of a line without second rows, what those of title and reason add, and generous means of letters' widths, rem. */
const LINE = 13.4;
const TITLE = { row: 4.3, letter: 1.75 };
const REASON = { row: 3.5, letter: 1.38 };

/** Split lines into those that fit whole into `height` x `width` (rem) and the number of the others; one always fits. */
export function fittingAlerts(
  lines: readonly AlertLine[],
  width: number,
  height: number,
): { shown: readonly AlertLine[]; more: number } {
  let used = 0;
  const over = lines.findIndex((line, index) => {
    used += LINE + (line.title.length * TITLE.letter > width ? TITLE.row : 0);
    used += (line.realm.length + line.word.length + line.reason.length + 5) * REASON.letter > width ? REASON.row : 0;
    return index > 0 && used > height;
  });
  const shown = over < 0 ? lines : lines.slice(0, over);
  return { shown, more: lines.length - shown.length };
}

function says(alert: WallAlert): string {
  const who = visible(alert.by);
  switch (alert.state) {
    case 'firing':
      return 'NOT ACKNOWLEDGED';
    case 'no_data':
      return 'NO DATA';
    case 'acknowledged':
      return who === '' ? 'acknowledged' : `with ${who}`;
    case 'resolved':
      return 'resolved';
  }
}

function tone(alert: WallAlert): AlertLine['tone'] {
  if (alert.state === 'no_data') return 'warning';
  if (alert.state !== 'firing') return 'plain';
  return alert.severity === 1 ? 'critical' : alert.severity === 2 ? 'warning' : 'plain';
}
