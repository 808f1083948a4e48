/**
 * What a screen is told by its address: which wall, how large, whose clocks, how often.
 *
 * `/`, `/wall` (the server resolves), `/wall/live`, `/wall/rehearsal`, `/wall/replay`; `?scale=1.2`,
 * `?zones=TLV:Asia/Jerusalem,UTC` in place of the server's, `?hz=1` for a weak box, `?quiet=4` the hour of the reload.
 */
import type { Realm } from './protocol';

export interface Screen {
  readonly realm: Realm | 'auto';
  /** Factor on every size: 0.5 to 2. */
  readonly scale: number;
  /** Label and IANA name; null means the server's. */
  readonly zones: readonly (readonly [string, string])[] | null;
  readonly hz: 5 | 2 | 1;
  /** Hour of the day, in the first zone, at which the page may reload itself. */
  readonly quietHour: number;
}

const REALMS: readonly Realm[] = ['live', 'rehearsal', 'replay'];

/** Read a location's path and query. Anything unknown falls back to the default: a wall has nobody to fix a typo. */
export function screen(path: string, query: string): Screen {
  const asked = new URLSearchParams(query);
  const name = /^\/wall\/([a-z]+)\/?$/.exec(path)?.[1];
  const hz = Number(asked.get('hz'));
  const zones = asked.get('zones');
  return {
    realm: REALMS.find((realm) => realm === name) ?? 'auto',
    scale: within(asked.get('scale'), 0.5, 2, 1),
    zones: zones ? zones.split(',').filter(Boolean).map(zone) : null,
    hz: hz === 1 || hz === 2 ? hz : 5,
    quietHour: Math.floor(within(asked.get('quiet'), 0, 23, 4)),
  };
}

function within(text: string | null, low: number, high: number, usual: number): number {
  const value = text === null || text === '' ? NaN : Number(text);
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : usual;
}

function zone(text: string): readonly [string, string] {
  const colon = text.indexOf(':');
  const name = text.slice(colon + 1);
  return [colon > 0 ? text.slice(0, colon) : (name.split('/').pop() ?? name).replaceAll('_', ' '), name];
}
