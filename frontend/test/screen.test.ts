import { describe, expect, it, vi } from 'vitest';
import { placesIn } from '../src/layout.svelte';
import { screen } from '../src/screen';
import { faults, HEAP_MOST, mending, reload, reloadReason, shift } from '../src/upkeep';

describe('screen', () => {
  it.each([
    ['/', 'auto'],
    ['/wall', 'auto'],
    ['/wall/', 'auto'],
    ['/wall/live', 'live'],
    ['/wall/rehearsal', 'rehearsal'],
    ['/wall/replay/', 'replay'],
    ['/wall/../etc', 'auto'],
  ])('%s shows %s', (path, realm) => expect(screen(path, '').realm).toBe(realm));

  it('reads the scale within bounds, and the zones', () => {
    expect(screen('/', '?scale=1.2').scale).toBe(1.2);
    expect(screen('/', '?scale=99').scale).toBe(2);
    expect(screen('/', '?scale=x').scale).toBe(1);
    expect(screen('/', '?zones=TLV:Asia/Jerusalem,America/New_York').zones).toEqual([
      ['TLV', 'Asia/Jerusalem'],
      ['New York', 'America/New_York'],
    ]);
    expect(screen('/', '').zones).toBeNull();
    expect(screen('/', '?hz=1&quiet=3')).toMatchObject({ hz: 1, quietHour: 3 });
    expect(screen('/', '?hz=60&quiet=')).toMatchObject({ hz: 5, quietHour: 4 });
  });
});

describe('places', () => {
  it('are three on a usual wall, fewer where all is larger, never none', () => {
    expect([100, 117, 83, 50].map(placesIn)).toEqual([3, 4, 2, 1]);
  });
});

describe('upkeep', () => {
  const calm = { up: 20 * 3_600_000, hour: 12, quietHour: 4, heap: 50e6, busy: false };

  it('reloads once a day at the quiet hour, not in a crisis, and when memory runs over', () => {
    expect(reloadReason(calm)).toBeNull();
    expect(reloadReason({ ...calm, hour: 4 })).toBe('quiet hour');
    expect(reloadReason({ ...calm, hour: 4, busy: true })).toBeNull();
    expect(reloadReason({ ...calm, hour: 4, up: 60_000 })).toBeNull();
    expect(reloadReason({ ...calm, heap: HEAP_MOST + 1, busy: true })).toBe('memory');
    expect(reloadReason({ ...calm, heap: null })).toBeNull();
  });

  it.each([
    ['answers', () => Promise.resolve(new Response('', { status: 200 })), true],
    ['fails', () => Promise.resolve(new Response('', { status: 503 })), false],
    ['is away', () => Promise.reject(new TypeError('refused')), false],
  ])('reloads only where the server %s', async (_, fetch, reloaded) => {
    let times = 0;
    const page = { fetch, location: { href: 'http://127.0.0.1/wall', reload: () => void (times += 1) } };
    expect(await reload(page as unknown as Window)).toBe(reloaded);
    expect(times).toBe(reloaded ? 1 : 0);
  });

  it('reloads a page that failed after a pause: a young one as late as its fault would come again', () => {
    expect(mending(0)).toBe(300_000);
    expect(mending(240_000)).toBe(60_000);
    expect(mending(86_400_000)).toBe(30_000);
  });

  it('hears what nothing caught, and not the remarks of the browser', () => {
    const page = new EventTarget();
    const heard = vi.fn();
    const deaf = faults(heard, page as unknown as Window);
    const fault = new Error('each_key_duplicate');
    page.dispatchEvent(Object.assign(new Event('error'), { error: null, message: 'ResizeObserver loop' }));
    page.dispatchEvent(Object.assign(new Event('error'), { error: fault }));
    page.dispatchEvent(Object.assign(new Event('unhandledrejection'), { reason: fault }));
    deaf();
    page.dispatchEvent(Object.assign(new Event('error'), { error: fault }));
    expect(heard.mock.calls).toEqual([[fault], [fault]]);
  });

  it('shifts the picture by single steps within 8 px and reaches all of them', () => {
    const seen = new Set<string>();
    for (let n = 0; n < 1_000; n++) {
      const [a, b] = [shift(n), shift(n + 1)];
      expect(Math.max(a.x, a.y, -a.x, -a.y)).toBeLessThanOrEqual(8);
      expect(Math.abs(a.x - b.x) + Math.abs(a.y - b.y)).toBeLessThanOrEqual(2);
      seen.add(`${a.x},${a.y}`);
    }
    expect(seen.size).toBe(81);
  });
});
