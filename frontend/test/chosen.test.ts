import { describe, expect, it } from 'vitest';
import { choose, DWELL, NOTHING, type Choice } from '../src/chosen';
import type { Item } from '../src/protocol';
import { level, LEVEL_LASTS, pooled, POOL } from '../src/urgency';
import { item, NOW } from './fixtures';

const ids = (choice: Choice): string[] => choice.slots.map((slot) => slot.item.id);
const POOLED = (items: Item[]): Item[] => pooled([], items, [], NOW);

describe('choose', () => {
  it('shows the most urgent first', () => {
    const items = POOLED([item('low', { urgency: 'low' }), item('crit', { urgency: 'critical' }), item('high', { urgency: 'high' })]);
    expect(ids(choose(NOTHING, items, 2, NOW, 0))).toEqual(['crit', 'high']);
  });

  it('keeps each for its dwell time, however urgent the next is', () => {
    const a = item('a');
    const before = choose(NOTHING, [a], 1, NOW, 0);
    const items = POOLED([a, item('b', { urgency: 'critical' })]);
    expect(choose(before, items, 1, NOW, DWELL - 1)).toBe(before);
    expect(ids(choose(before, items, 1, NOW, DWELL))).toEqual(['b']);
  });

  it('lets equals take turns, in place', () => {
    const items = POOLED(['a', 'b', 'c', 'd'].map((id, n) => item(id, { urgency: 'high', published: NOW - n * 1_000 })));
    let choice = choose(NOTHING, items, 2, NOW, 0);
    const seen = new Set(ids(choice));
    for (let at = DWELL; at <= 3 * DWELL; at += DWELL) {
      choice = choose(choice, items, 2, NOW, at);
      ids(choice).forEach((id) => seen.add(id));
    }
    expect([...seen].sort()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('does not give the place of an urgent one to a lesser one', () => {
    const items = POOLED([item('crit', { urgency: 'critical' }), item('low', { urgency: 'low' })]);
    const before = choose(NOTHING, items, 1, NOW, 0);
    expect(ids(choose(before, items, 1, NOW, 10 * DWELL))).toEqual(['crit']);
  });

  it('drops what is gone at once and fills the place', () => {
    const before = choose(NOTHING, [item('a'), item('b')], 1, NOW, 0);
    expect(ids(choose(before, [item('b')], 1, NOW, 1))).toEqual(['b']);
    expect(ids(choose(before, [], 1, NOW, 1))).toEqual([]);
  });

  it('shows an edit at once, without a new turn', () => {
    const before = choose(NOTHING, [item('a')], 1, NOW, 0);
    const after = choose(before, [item('a', { text: 'edited' })], 1, NOW, 1);
    expect(after.slots).toEqual([{ item: item('a', { text: 'edited' }), since: 0 }]);
  });

  it('gives copies of one text one place, and the others to other voices', () => {
    const copy = (id: string, text: string): Item => item(id, { urgency: 'critical', text });
    const items = POOLED([copy('a', 'App down! #1 @x'), copy('b', 'app down 22 https://a.example/2'), item('c', { text: 'hello' })]);
    expect(ids(choose(NOTHING, items, 3, NOW, 0))).toEqual(['a', 'c']);
    const before = choose(NOTHING, items, 2, NOW, 0);
    expect(ids(choose(before, items, 2, NOW, DWELL)).sort()).toEqual(['b', 'c']);
  });

  it('fills more places and empties fewer', () => {
    const items = POOLED(['a', 'b', 'c'].map((id) => item(id)));
    const two = choose(NOTHING, items, 2, NOW, 0);
    expect(choose(two, items, 3, NOW, 1).slots.length).toBe(3);
    expect(ids(choose(two, items, 1, NOW, 1))).toEqual(ids(two).slice(0, 1));
  });

  it('remembers a bounded number of turns over weeks', () => {
    let choice = NOTHING;
    for (let n = 0; n < 1_000; n++) choice = choose(choice, [item(`m${n}`)], 3, NOW, n * DWELL);
    expect(choice.turns.size).toBeLessThanOrEqual(120);
  });
});

describe('level', () => {
  it('falls with age, so that an old crisis gives way', () => {
    const old = item('old', { urgency: 'critical', published: NOW - 2 * LEVEL_LASTS });
    expect(level(old, NOW)).toBe(1);
    expect(level(item('future', { urgency: 'high', published: NOW + 1e9 }), NOW)).toBe(2);
  });
});

describe('pooled', () => {
  it('keeps the most urgent where there are too many', () => {
    const many = Array.from({ length: POOL + 20 }, (_, n) => item(`n${n}`));
    const pool = pooled(many, [item('crit', { urgency: 'critical' })], [], NOW);
    expect(pool.length).toBe(POOL);
    expect(pool[0]?.id).toBe('crit');
  });
});
