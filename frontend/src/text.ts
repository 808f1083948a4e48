/**
 * Untrusted text as pieces that a card can show safely: what is removed, what is marked, what is isolated.
 *
 * Owns removal of direction overrides and control characters, the split at matched words, the isolation of handles,
 * links and numbers that would be turned round, and the cut to the first matched word. Pieces become text nodes; nothing
 * here makes markup.
 */

/** A stretch of text; `mark` where a query matched. */
export interface Piece {
  readonly text: string;
  readonly mark: boolean;
}

/** Pieces that belong together; `isolate` where they must not take part in the line's direction (a handle, a phone number). */
export interface Run {
  readonly isolate: boolean;
  readonly pieces: readonly Piece[];
}

/** Direction overrides and isolates: they let a writer reorder what stands around his text. */
const OVERRIDES = /[\u202A-\u202E\u2066-\u2069]/;
/** Controls, soft hyphen aside: line ends and tabs become spaces, the rest vanish. */
const BREAKS = /[\t\n\v\f\r\u0085\u2028\u2029]/;
const CONTROLS = /[\u0000-\u001F\u007F-\u009F\uFEFF\uFFF9-\uFFFB]/;

/** Links and e-mail addresses, without what ends their sentence, and handles. Bounded: hostile text costs no more. */
const NAMES = String.raw`https?:\/\/\S*[^\s.,:;!?…)\]}"'»״׳،؛؟]|[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[A-Za-z0-9.-]*[A-Za-z0-9]|[@#](?=[0-9_]{0,40}[A-Za-z])[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*`;

/** No Arabic-Indic ones: their order is their own, and no isolate changes it. */
const DIGIT = '[0-9۰-۹]';
/**
 * What the standard order (UAX #9) would turn round in a line from right to left: groups of a phone number, of a date
 * with hyphens, a sign and its number, a number and the Latin word after its hyphen. All else it gets right, and only
 * where it sees the digits: LY315, 50%, 12/05/2026, and 10-15, which Arabic and Persian read from the right.
 */
const NUMBERS = [
  `\\+${DIGIT}[0-9۰-۹() -]{5,18}${DIGIT}`,
  `\\(?[0۰]${DIGIT}{1,3}\\)?[ -]?${DIGIT}{3,4}[ -](?:${DIGIT}{2}[ -]${DIGIT}{2}|${DIGIT}{3,4})`,
  `[0۰]${DIGIT}{1,3}[ -]${DIGIT}{5,8}`,
  `${DIGIT}{1,6}(?:[.-]${DIGIT}{1,6}){0,4}-[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+| [A-Za-z][A-Za-z0-9]*){0,6}`,
  `${DIGIT}{1,5}(?:-${DIGIT}{1,8}){2,6}`,
  // A sign, unless it is the hyphen of a Hebrew prefix (ב -15) or of a range (10 -15).
  `(?<=^|[\\s(\\["'«])(?<!\\p{N}\\s|(?<!\\p{L})[ובלכמשה]\\s)[+±−-][$€£¥₪]?${DIGIT}+(?:[.,٫٬/]${DIGIT}+)*(?:\\s?[%٪‰°]|[$€£¥₪]|[A-Za-z]{1,8})?`,
].join('|');
const ISOLATES = new RegExp(
  `${NAMES}|(?<![A-Za-z_\\p{N}]|\\p{N}[.,:/-])(?<number>${NUMBERS})(?![A-Za-z_\\p{N}%٪$€£¥₪]|[.,:/-]\\p{N})`,
  'gu',
);
const LETTER = /\p{L}/u;
const RIGHT_TO_LEFT = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC]/;

/** Characters before the first matched word that a card keeps when it has to cut. */
const LEAD = 60;
const ELLIPSIS = '…';

/** `text` without what may not be shown: for names and titles. */
export function visible(text: string): string {
  let shown = '';
  for (const char of text) shown += shownChar(char);
  return shown.replace(/ {2,}/g, ' ').trim();
}

function shownChar(char: string): string {
  if (BREAKS.test(char)) return ' ';
  return OVERRIDES.test(char) || CONTROLS.test(char) ? '' : char;
}

/**
 * Return the text as runs. `marks` are [start, end) in UTF-16 units of `text`; overlapping, reversed or outlying ones are
 * mended. With `most`, a text whose first mark lies beyond it starts a little before that mark, at a word.
 */
export function runs(text: string, marks: readonly (readonly [number, number])[], most = Infinity): Run[] {
  const { shown, marked } = cleaned(text, marks);
  const from = lead(shown, marked, most);
  const found: Run[] = from > 0 ? [{ isolate: false, pieces: [{ text: ELLIPSIS, mark: false }] }] : [];
  let at = from;
  let latin = false;
  const scan = new RegExp(ISOLATES);
  scan.lastIndex = from;
  for (let match = scan.exec(shown); match !== null; match = scan.exec(shown)) {
    latin = afterLatin(shown, at, match.index) ?? latin;
    // Numbers after Latin letters belong to them (Boeing 737-800-X): isolated, they would change places.
    if (latin && match.groups?.['number'] !== undefined) continue;
    if (match.index > at) found.push(run(shown, marked, at, match.index, false));
    at = match.index + match[0].length;
    found.push(run(shown, marked, match.index, at, true));
  }
  if (at < shown.length) found.push(run(shown, marked, at, shown.length, false));
  return found;
}

/** Whether the last letter of [from, to) is of a script that runs from left to right; undefined where there is none. */
function afterLatin(shown: string, from: number, to: number): boolean | undefined {
  for (let at = to - 1; at >= from; at--) {
    const char = shown.charAt(at);
    if (LETTER.test(char)) return !RIGHT_TO_LEFT.test(char);
  }
  return undefined;
}

/** Remove what may not be shown, and carry along for each remaining UTF-16 unit whether it is marked. */
function cleaned(text: string, marks: readonly (readonly [number, number])[]): { shown: string; marked: boolean[] } {
  const hit = new Array<boolean>(text.length).fill(false);
  for (const [start, end] of marks) hit.fill(true, Math.max(0, start), Math.max(0, Math.min(text.length, end)));
  let shown = '';
  const marked: boolean[] = [];
  let index = 0;
  for (const char of text) {
    const keep = shownChar(char);
    // A mark that cuts a surrogate pair covers the whole character.
    const mark = hit.slice(index, index + char.length).some(Boolean);
    if (!(keep === ' ' && (shown === '' || shown.endsWith(' ')))) {
      shown += keep;
      for (let unit = 0; unit < keep.length; unit++) marked.push(mark);
    }
    index += char.length;
  }
  return { shown, marked };
}

function lead(shown: string, marked: readonly boolean[], most: number): number {
  const first = marked.indexOf(true);
  if (first < 0 || first < most) return 0;
  const space = shown.indexOf(' ', first - LEAD);
  return space >= 0 && space < first ? space + 1 : first;
}

function run(shown: string, marked: readonly boolean[], from: number, to: number, isolate: boolean): Run {
  const pieces: Piece[] = [];
  let start = from;
  for (let at = from + 1; at <= to; at++) {
    if (at < to && marked[at] === marked[start]) continue;
    pieces.push({ text: shown.slice(start, at), mark: marked[start] === true });
    start = at;
  }
  return { isolate, pieces };
}
