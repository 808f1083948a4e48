import { describe, expect, it } from 'vitest';
import { runs, visible } from '../src/text';
import { seeded } from './fixtures';

/** Made to be slow for a pattern of numbers. */
const SLOW = ['1-'.repeat(300), '0'.repeat(600), '+1 '.repeat(200), '-1,'.repeat(200), '1-a'.repeat(200), '1.'.repeat(300), 'a@'.repeat(300), `@${'.'.repeat(599)}`, `a${' -5'.repeat(199)}`];

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

  it('isolates handles, links and addresses, and neither a Hebrew prefix with its hyphen nor the sentence around', () => {
    expect(drawn('תגידו ל-@Kefel_Pay. עד 15:30')).toBe('תגידו ל-{@Kefel_Pay}. עד 15:30');
    expect(drawn('ראו https://a.example/x?y=1 או a.b@c.example.')).toBe('ראו {https://a.example/x?y=1} או {a.b@c.example}.');
    expect(drawn('(ראו https://a.example/x/). היום #abc נפל')).toBe('(ראו {https://a.example/x/}). היום {#abc} נפל');
    expect(drawn('نام @user در #COVID-19 است')).toBe('نام {@user} در {#COVID-19} است');
  });

  // In each of these a digit run of its own would leave its word, its sign or its place.
  it.each([
    'הטיסה LY315 בוטלה',
    'קניתי Galaxy S24 חדש',
    'ה iPhone 15 שלי נשרף',
    'מטוס Boeing 737-800 נחת',
    'החיסון COVID-19 היום',
    'پرواز W5112 لغو شد',
    'شركة flydubai FZ123 سيئة',
    'شبكة 5G جديدة',
    'הנחה של 50% היום',
    'מחיר ₪250 ליום, חויבתי $250 ועוד 1,250.50 ₪',
    'עד 12/05/2026 בשעה 10:30, בין 10-15 איש, תוצאה 2:1',
    'بين 10-15 شخص حتى 12/05/2026 الساعة 10:30',
    'عدد ۱۲۳ نفر تا ۱۴۰۴/۰۵/۱۲ ساعت ۱۰:۳۰، ۱۰-۱۵ نفر، ۵۰٪',
    'סעיף #5 בחוזה, גרסה 18.1.1 ב -15 שנה, 10 -15 איש',
    'Galaxy S24 054-123-4567 שלי',
  ])('leaves %s as the standard order has it', (text) => expect(drawn(text)).toBe(text));

  it.each([
    ['טל 054-1234567, 3 פעמים', '054-1234567'],
    ['טל ל-054-123-4567 דחוף', '054-123-4567'],
    ['טל 054 123 4567 דחוף', '054 123 4567'],
    ['טל (03) 123-4567 דחוף', '(03) 123-4567'],
    ['טל +972-54-1234567 דחוף', '+972-54-1234567'],
    ['هاتف +971 50 123 4567 عاجل', '+971 50 123 4567'],
    ['تلفن 0912 345 67 89 فوری', '0912 345 67 89'],
    ['تلفن ۰۲۱-۱۲۳۴۵۶۷۸ فوری', '۰۲۱-۱۲۳۴۵۶۷۸'],
    ['تا ۱۴۰۴-۰۵-۱۲ فقط', '۱۴۰۴-۰۵-۱۲'],
    ['حتى 2026-05-12 فقط', '2026-05-12'],
    ['ירידה של -5% היום', '-5%'],
    ['کاهش -۵٪ امروز', '-۵٪'],
    ['זיכוי -$250 היום', '-$250'],
    ['שווה +1,250.50₪ היום', '+1,250.50₪'],
    ['ציון +4.5/5 נהדר', '+4.5/5'],
    ['גרסה 1.2.3-beta נפלה', '1.2.3-beta'],
    ['חנות 7-Eleven Express נסגרה', '7-Eleven Express'],
  ])('isolates in %s what would be turned round', (text, part) => {
    expect(drawn(text)).toBe(text.replace(part, `{${part}}`));
  });

  it('marks a matched word that is a part of a number or adjoins one', () => {
    expect(drawn('הטיסה LY315 בוטלה', [at('הטיסה LY315 בוטלה', 'LY')])).toBe('הטיסה [LY]315 בוטלה');
    expect(drawn('קניתי Galaxy S24 חדש', [at('קניתי Galaxy S24 חדש', 'Galaxy')])).toBe('קניתי [Galaxy] S24 חדש');
    expect(drawn('טל 054 123 4567 דחוף', [[0, 6]])).toBe('[טל ]{[054] 123 4567} דחוף');
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
    for (const text of ['a.'.repeat(300), '1.'.repeat(300), '@a-'.repeat(200), 'a'.repeat(600), ...SLOW]) runs(text, [[0, 600]]);
    expect(performance.now() - begun).toBeLessThan(500);
  });
});
