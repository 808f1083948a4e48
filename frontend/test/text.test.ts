import { describe, expect, it } from 'vitest';
import { runs, visible } from '../src/text';
import { seeded } from './fixtures';

/** Runs as one string with [marks] and {isolates}. */
function drawn(text: string, marks: [number, number][] = [], most?: number): string {
  return runs(text, marks, most)
    .map(({ isolate, pieces }) => {
      const inner = pieces.map((piece) => (piece.mark ? `[${piece.text}]` : piece.text)).join('');
      return isolate ? `{${inner}}` : inner;
    })
    .join('');
}

function at(text: string, word: string): [number, number] {
  return [text.indexOf(word), text.indexOf(word) + word.length];
}

describe('runs', () => {
  it('marks matched words', () => {
    expect(drawn('error on pay day', [[9, 12]])).toBe('error on [pay] day');
  });

  it('keeps marks right when direction overrides before and inside them vanish', () => {
    const text = '\u202Eab\u2066 hid\u202Eden\u2069 word';
    expect(drawn(text, [at(text, 'hid\u202Eden')])).toBe('ab [hidden] word');
  });

  it.each(['\u202A', '\u202B', '\u202C', '\u202D', '\u202E', '\u2066', '\u2067', '\u2068', '\u2069', '\u0000', '\u001B', '\u009F'])(
    'removes %j',
    (char) => expect(drawn(`a${char}b`)).toBe('ab'),
  );

  it('keeps what scripts need: ZWNJ, ZWJ, direction marks, niqqud', () => {
    const text = 'نمی\u200Cشود 👩\u200D💻 \u200Fשָׁלוֹם';
    expect(drawn(text)).toBe(text);
  });

  it('isolates handles, links, addresses and numbers, and no Hebrew prefix or its hyphen', () => {
    expect(drawn('תגידו ל-@Kefel_Pay. עד 15:30')).toBe('תגידו ל-{@Kefel_Pay}. עד {15:30}');
    expect(drawn('ראו https://a.example/x?y=1 או a.b@c.example')).toBe('ראו {https://a.example/x?y=1} או {a.b@c.example}');
    expect(drawn('טל 054-1234567, 3 פעמים')).toBe('טל {054-1234567}, {3} פעמים');
  });

  it('marks inside an isolate without splitting it', () => {
    expect(drawn('see @kefelpay now', [[5, 10]])).toBe('see {@[kefel]pay} now');
  });

  it('mends overlapping, reversed, outlying and pair-splitting marks', () => {
    expect(drawn('abcdef', [[1, 3], [2, 5]])).toBe('a[bcde]f');
    expect(drawn('abcdef', [[4, 2]])).toBe('abcdef');
    expect(drawn('abcdef', [[-5, 2], [5, 99]])).toBe('[ab]cde[f]');
    expect(drawn('a😡b', [[2, 3]])).toBe('a[😡]b');
  });

  it('turns line ends into one space', () => {
    expect(drawn('\n\n a \r\n\t b\u2028c')).toBe('a b c');
  });

  it('starts shortly before a matched word that would not be seen', () => {
    const text = `${'word '.repeat(60)}the payment fails again`;
    const shown = drawn(text, [at(text, 'payment')], 100);
    expect(shown).toMatch(/^…word/);
    expect(shown).toContain('[payment] fails again');
    expect(shown.indexOf('[payment]')).toBeLessThan(70);
    expect(drawn(text, [at(text, 'payment')])).toMatch(/^word/);
  });

  it('never makes markup: markup stays text', () => {
    expect(drawn('<img src=x onerror=alert(1)>')).toContain('<img src=x onerror=alert(');
  });

  it('loses nothing but what it must, in hostile text', () => {
    const alphabet = ['a', 'ש', 'ی', '😡', '\u202E', '\u2067', '@', '#', '1', ':', '.', '-', ' ', '\n', '\u0300', '\uD83D', '<', 'http://'];
    for (let seed = 0; seed < 200; seed++) {
      const random = seeded(seed);
      const text = Array.from({ length: 80 }, () => alphabet[Math.floor(random() * alphabet.length)]).join('');
      const marks = Array.from({ length: 4 }, () => [random() * 90 - 5, random() * 90 - 5].map(Math.floor) as [number, number]);
      const shown = runs(text, marks).flatMap(({ pieces }) => pieces);
      expect(shown.map((piece) => piece.text).join('').trim(), `seed ${seed}`).toBe(visible(text));
      expect(shown.every((piece) => piece.text !== ''), `seed ${seed}`).toBe(true);
    }
  });

  it('costs little on 600 characters made to be slow', () => {
    const begun = performance.now();
    for (const text of ['a.'.repeat(300), '1.'.repeat(300), '@a-'.repeat(200), 'a'.repeat(600)]) runs(text, [[0, 600]]);
    expect(performance.now() - begun).toBeLessThan(500);
  });
});
