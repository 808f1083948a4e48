/**
 * What keeps a screen well for months: reloads at the right moment, a picture that does not burn in, a screen that does
 * not sleep, a cursor that hides. The page's side; no state of the wall.
 *
 * Owns browser housekeeping. `reloadReason` is pure; the rest touches window and document, each returning its undo.
 */
export interface Condition {
  /** ms since the page was loaded. */
  readonly up: number;
  /** Hour of the day in the screen's first zone, 0 to 23. */
  readonly hour: number;
  readonly quietHour: number;
  /** Bytes of JavaScript heap; null where the browser does not say. */
  readonly heap: number | null;
  /** An alert is firing: nobody wants a blank second now. */
  readonly busy: boolean;
}

export const HEAP_MOST = 250 * 1024 * 1024;
const HOUR = 3_600_000;
/** A page younger than this does not reload for the quiet hour, so it reloads once a day and not all hour long. */
const YOUNG = 12 * HOUR;

/** Why the page should reload itself now; null for no reason. */
export function reloadReason(now: Condition): 'memory' | 'quiet hour' | null {
  if (now.heap !== null && now.heap > HEAP_MOST && now.up > 60_000) return 'memory';
  return now.hour === now.quietHour && now.up > YOUNG && !now.busy ? 'quiet hour' : null;
}

/** How long a page that failed waits before it reloads, ms: what broke a young one will break the next as soon. */
export function mending(up: number): number {
  return Math.max(30_000, 300_000 - up);
}

/** Call `heard` with each error that nothing caught. Events without one are the browser's own remarks (ResizeObserver). */
export function faults(heard: (error: unknown) => void, page: Pick<Window, 'addEventListener' | 'removeEventListener'> = window): () => void {
  const thrown = (event: ErrorEvent): void => {
    if (event.error instanceof Error) heard(event.error);
  };
  const rejected = (event: PromiseRejectionEvent): void => heard(event.reason);
  page.addEventListener('error', thrown);
  page.addEventListener('unhandledrejection', rejected);
  return () => {
    page.removeEventListener('error', thrown);
    page.removeEventListener('unhandledrejection', rejected);
  };
}

/** Reload, but only once the server answers for this very page: a wall must never end on the browser's error page. */
export async function reload(page: Pick<Window, 'fetch' | 'location'> = window): Promise<boolean> {
  try {
    const answer = await page.fetch(page.location.href, { cache: 'no-store' });
    if (!answer.ok) return false;
  } catch {
    return false; // the server is away: stay, and try again later
  }
  page.location.reload();
  return true;
}

/** Heap in bytes, where the browser tells (Chromium). */
export function heap(): number | null {
  const memory = (performance as { memory?: { usedJSHeapSize: number } }).memory;
  return memory?.usedJSHeapSize ?? null;
}

/** Where the picture stands in minute `n`, in px: a walk over a 9 x 9 grid that visits all of it, one step at a time. */
export function shift(n: number): { x: number; y: number } {
  const there = (value: number): number => (value % 16 <= 8 ? value % 16 : 16 - (value % 16));
  return { x: there(n), y: there(Math.floor(n / 9)) };
}

/** Hide the cursor five seconds after it moved last. */
export function hidingCursor(root: HTMLElement): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const moved = (): void => {
    root.classList.remove('still');
    clearTimeout(timer);
    timer = setTimeout(() => root.classList.add('still'), 5_000);
  };
  moved();
  root.addEventListener('pointermove', moved, { passive: true });
  return () => {
    clearTimeout(timer);
    root.removeEventListener('pointermove', moved);
  };
}

/** Keep the screen awake while the page is seen; browsers release the lock when it is covered. */
export function wakefulness(): () => void {
  const ask = (): void => {
    // Refused on battery, on plain HTTP, by old browsers: a wish, not a need.
    if (document.visibilityState === 'visible') navigator.wakeLock?.request('screen').catch(() => undefined);
  };
  ask();
  document.addEventListener('visibilitychange', ask);
  return () => document.removeEventListener('visibilitychange', ask);
}
