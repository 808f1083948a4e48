/**
 * How much room the screen has: the one place that measures. Reactive to the window's size.
 *
 * Owns room in rem (see wall.css) and what fits into it. Does not own positions: they are CSS.
 */
import { MediaQuery } from 'svelte/reactivity';
import { innerHeight, innerWidth } from 'svelte/reactivity/window';

/** Height of a card with its gap, rem. */
export const CARD = 14.1;
/** What all but the mentions needs at least, rem: marks, header, tiles, a chart that can be read, the bottom line. */
const REST = 54;
const MOST = 4;

const phone = new MediaQuery('(max-width: 700px)', false);

/** One column, which scrolls: everything fits. */
export function narrow(): boolean {
  return phone.current;
}

/** Pixels of one rem, now. */
export function rem(): number {
  // Read so that callers run again when the window changes: the root's font size follows it.
  void innerWidth.current;
  void innerHeight.current;
  return parseFloat(getComputedStyle(document.documentElement).fontSize) || 10;
}

/** How many mentions fit: three on a usual wall, four where things are small, fewer where they are large. */
export function places(): number {
  return narrow() ? MOST : placesIn((innerHeight.current ?? 1080) / rem());
}

export function placesIn(height: number): number {
  return Math.max(1, Math.min(MOST, Math.floor((height - REST) / CARD)));
}
