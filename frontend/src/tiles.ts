/**
 * The four figures at the top: value, what it is measured against, and whether it is abnormal.
 *
 * Owns words and the judgement "abnormal". Does not own the expectation (the server's history) or drawing.
 */
import type { Figures, Usual, WallAlert } from './protocol';
import { ago, count, large, percent, rate, seconds } from './format';

/** Receipt to wall above this is worth a look: the aim is 1.5 s at full load. */
export const SLOW = 5;

export interface Tile {
  readonly label: string;
  readonly value: string;
  readonly note: string;
  readonly tone: 'plain' | 'hot' | 'warning';
}

/** Return the tiles at `now` (ms, server clock). No figure without meaning: where history is short, the note says so. */
export function tiles(figures: Figures, alerts: readonly WallAlert[], now: number): Tile[] {
  const slow = (figures.delay_p95 ?? 0) > SLOW;
  return [
    {
      label: 'Mentions / min',
      value: rate(figures.per_minute),
      ...against('expected', figures.per_minute, figures.per_minute_usual, rate),
    },
    negative(figures),
    urgent(figures, alerts, now),
    {
      label: 'Receipt to wall, p95',
      value: figures.delay_p95 === null ? '–' : seconds(figures.delay_p95),
      note: `${slow ? 'slow · ' : ''}${count(figures.heard_today)} heard today`,
      tone: slow ? 'warning' : 'plain',
    },
  ];
}

function negative(figures: Figures): Tile {
  if (figures.negative === null) return { label: 'Negative', value: '–', note: 'too few mentions', tone: 'plain' };
  const { note, tone } = against('usual', figures.negative, figures.negative_usual, percent);
  // Less anger than usual is no alarm.
  const calm = figures.negative_usual !== null && figures.negative < figures.negative_usual.low;
  return { label: 'Negative', value: percent(figures.negative), note, tone: calm ? 'plain' : tone };
}

/** An urgent mention is work, not an anomaly, until a rule has fired. */
function urgent(figures: Figures, alerts: readonly WallAlert[], now: number): Tile {
  const firing = alerts.some((alert) => alert.state === 'firing');
  return {
    label: 'Urgent, last 15 min',
    value: large(figures.urgent),
    note: figures.urgent_oldest === null ? 'none' : `oldest ${ago(now - figures.urgent_oldest)}`,
    tone: firing && figures.urgent > 0 ? 'hot' : 'plain',
  };
}

function against(
  word: string,
  value: number,
  usual: Usual | null,
  write: (value: number) => string,
): Pick<Tile, 'note' | 'tone'> {
  if (usual === null) return { note: 'too little history', tone: 'plain' };
  const range = write(usual.middle);
  if (value > usual.high) return { note: `above the ${word} ${range}`, tone: 'hot' };
  if (value < usual.low) return { note: `below the ${word} ${range}`, tone: 'warning' };
  return { note: `${word} ${range}`, tone: 'plain' };
}
