/**
 * Figures, ages and clock times as a wall writes them: Latin digits, 24 hours, one unit.
 *
 * Owns wording of numbers only. Formatters are made once: `Intl` objects are dear and walls run for weeks.
 */

const NBSP = '\u00a0';
const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const TENTH = new Intl.NumberFormat('en-US', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

/** `1,204,118`. */
export function count(value: number): string {
  return WHOLE.format(value);
}

/** At most five characters, for the large digits of a tile: `1,214`, `9,999`, `12.3K`. */
export function large(value: number): string {
  return Math.abs(value) < 10_000 ? WHOLE.format(value) : COMPACT.format(value);
}

/** A rate: one decimal below ten, else whole. */
export function rate(value: number): string {
  return Number.isInteger(value) || value >= 10 ? large(value) : TENTH.format(value);
}

/** A share of 0 to 1 as `52 %`. */
export function percent(share: number): string {
  return `${WHOLE.format(share * 100)}${NBSP}%`;
}

/** Seconds with tenths, `0.6 s`; whole from a hundred on; from a thousand on as an age, days whole: at most `99 h 59`. */
export function seconds(value: number): string {
  if (value >= 100 * 3_600) return `${Math.floor(value / 86_400)}${NBSP}d`;
  if (value >= 1_000) return span(Math.floor(value / 60));
  return `${value < 100 ? TENTH.format(value) : WHOLE.format(value)}${NBSP}s`;
}

/** How long ago, from ms, in the coarsest honest unit: `now`, `47 s`, `4 min`, `1 h 02`, `3 d 04 h`. */
export function ago(ms: number): string {
  const s = Math.floor(Math.max(0, ms) / 1000);
  if (s < 1) return 'now';
  if (s < 60) return `${s}${NBSP}s`;
  const min = Math.floor(s / 60);
  const h = Math.floor(min / 60);
  if (h < 24) return span(min);
  return `${Math.floor(h / 24)}${NBSP}d${NBSP}${two(h % 24)}${NBSP}h`;
}

function span(min: number): string {
  return min < 60 ? `${min}${NBSP}min` : `${Math.floor(min / 60)}${NBSP}h${NBSP}${two(min % 60)}`;
}

/** The pill's age, from ms: tenths below a minute, then `1 min 05 s`, `2 h 05 min`. */
export function pillAge(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 60) return `${TENTH.format(Math.floor(s * 10) / 10)}${NBSP}s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min}${NBSP}min${NBSP}${two(Math.floor(s) % 60)}${NBSP}s`;
  return `${Math.floor(min / 60)}${NBSP}h${NBSP}${two(min % 60)}${NBSP}min`;
}

/** `n` of a thing, with its plural: `1 gap`, `3 gaps`. */
export function things(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A function from ms since 1970 to `14:05` in an IANA zone; null for a zone that this browser does not know. */
export function clockOf(zone: string): ((ms: number) => string) | null {
  try {
    const format = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', timeZone: zone });
    return (ms) => format.format(ms);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/**
 * A function from ms since 1970 and now to the moment's clock time in an IANA zone with seconds, `14:05:09`; with its
 * day if that is not the day of `now`, `21 Nov, 14:05:09`. A zone that this browser does not know is read as UTC.
 */
export function momentOf(zone: string): (ms: number, now: number) => string {
  const timeZone = clockOf(zone) === null ? 'UTC' : zone;
  const time = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone });
  const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone });
  return (ms, now) => (day.format(ms) === day.format(now) ? '' : `${day.format(ms)}, `) + time.format(ms);
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}
