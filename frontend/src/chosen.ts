/**
 * Which mentions are on screen: the most urgent first, each for at least its dwell time, in a place that does not move.
 *
 * Owns slots and turns. Does not own ranks (`urgency.ts`) or drawing. Pure: time is a parameter, in ms.
 * Two clocks: `now` is the server's (a replay's runs at its own speed), `at` is the viewer's, in which dwell is measured.
 */
import type { Item } from './protocol';
import { level } from './urgency';

/** Nobody reads two lines in less. */
export const DWELL = 8_000;

/** Turns remembered: the candidates there can be, twice over. */
const TURNS = 120;

/** A place on screen with the mention in it. */
export interface Slot {
  readonly item: Item;
  readonly since: number;
}

/** What is on screen, and when each candidate was last on it. */
export interface Choice {
  readonly slots: readonly Slot[];
  readonly turns: ReadonlyMap<string, number>;
}

export const NOTHING: Choice = { slots: [], turns: new Map() };

/**
 * Return the next choice of at most `places` mentions at `now` and `at`; the same object if none changed.
 *
 * A mention that is gone leaves at once. One that had its dwell time leaves for a candidate at least as urgent that has
 * waited longer; never for a less urgent one. An edit shows at once, in place. Copies of one text take one place.
 */
export function choose(before: Choice, items: readonly Item[], places: number, now: number, at: number): Choice {
  const byId = new Map(items.map((item) => [item.id, item]));
  const waiting = candidates(before, items, now);
  const slots: Slot[] = [];
  const kept = before.slots.slice(0, places);
  for (const [index, slot] of kept.entries()) {
    const item = byId.get(slot.item.id);
    const next = unlike(waiting, [...slots, ...kept.slice(index + 1)]);
    if (item && (at - slot.since < DWELL || !next || level(next, now) < level(item, now))) {
      slots.push(item === slot.item ? slot : { item, since: slot.since });
    } else if (next) {
      slots.push({ item: next, since: at });
      waiting.splice(waiting.indexOf(next), 1);
    }
  }
  for (let next = unlike(waiting, slots); next && slots.length < places; next = unlike(waiting, slots)) {
    slots.push({ item: next, since: at });
    waiting.splice(waiting.indexOf(next), 1);
  }
  return same(before.slots, slots) ? before : { slots, turns: turned(before.turns, slots, at) };
}

/** Not on screen, most urgent first, then whose turn is longest ago, then newest. */
function candidates(before: Choice, items: readonly Item[], now: number): Item[] {
  const shown = new Set(before.slots.map((slot) => slot.item.id));
  const turn = (item: Item): number => before.turns.get(item.id) ?? -Infinity;
  return items
    .filter((item) => !shown.has(item.id))
    .sort((a, b) => level(b, now) - level(a, now) || compare(turn(a), turn(b)) || b.published - a.published);
}

/** The first that says something else than what is on screen. */
function unlike(waiting: readonly Item[], shown: readonly Slot[]): Item | undefined {
  const said = new Set(shown.map((slot) => gist(slot.item)));
  return waiting.find((item) => !said.has(gist(item)));
}

const GISTS = new WeakMap<Item, string>();

/** Letters alone: copies differ in handles, numbers, links and signs at most. Texts without letters are each their own. */
function gist(item: Item): string {
  let known = GISTS.get(item);
  if (known === undefined) {
    const letters = item.text.toLowerCase().replace(/https?:\/\/\S+|[@#][\w.-]+/g, '').replace(/\P{L}+/gu, '');
    known = letters === '' ? item.id : letters.slice(0, 80);
    GISTS.set(item, known);
  }
  return known;
}

/** -Infinity minus itself is no number, so no subtraction. */
function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function same(a: readonly Slot[], b: readonly Slot[]): boolean {
  return a.length === b.length && a.every((slot, index) => slot === b[index]);
}

function turned(turns: ReadonlyMap<string, number>, slots: readonly Slot[], at: number): ReadonlyMap<string, number> {
  const next = new Map(turns);
  for (const { item } of slots) {
    next.delete(item.id); // put again, so that the oldest turn stays first
    next.set(item.id, at);
  }
  for (const id of next.keys()) {
    if (next.size <= TURNS) break;
    next.delete(id);
  }
  return next;
}
