/**
 * Invented walls to look at: a calm hour, a crisis, an empty start; in Hebrew, Persian, Arabic and English.
 *
 * Owns content. Does not own serving it (`backend.ts`). The brands do not exist. All times hang on `now`.
 */
import type { Item, Minute, Realm, Snapshot, WallAlert, WallSource } from '../src/protocol';
import { emptySnapshot } from './backend';

const MINUTE = 60_000;

type Said = [author: string, lang: string, text: string, word: string, urgency: Item['urgency'], ago: number];

const CRISIS: readonly Said[] = [
  ['דנה כהן', 'he', 'אני תקועה בקופה עם שני ילדים והתשלום לא עובר, ניסיתי 3 כרטיסים ואף אחד לא עונה ב-@KefelPay כבר 25 דקות. מה עושים?', 'התשלום לא עובר', 'critical', 12],
  ['علی رضایی', 'fa', 'از صبح اپ باز نمی‌شه، حقوقم گیر کرده و پشتیبانی جواب نمی‌ده. شمارهٔ پیگیری ۱۲۳۴۵۶ را هم کسی نمی‌خواند، لطفاً جواب بدید', 'اپ باز نمی‌شه', 'critical', 31],
  ['Alice B.', 'en', 'Third time today I get error 502 on checkout. @KefelPay is anybody there? My rent is due at 17:00 and the money has left my account twice.', 'error 502', 'high', 55],
  ['ليلى منصور', 'ar', 'التطبيق لا يعمل منذ الساعة 9:30 والدفع مرفوض في كل مرة، خصموا المبلغ مرتين ولا أحد يرد على الرسائل', 'الدفع مرفوض', 'high', 80],
  ['נועם', 'he', 'שוב נפלה האפליקציה של כפל. error 502, פעם רביעית השבוע 😡', 'נפלה האפליקציה', 'high', 95],
];

const CALM: readonly Said[] = [
  ['Ben T.', 'en', 'Does anyone know whether Kefel Pay works abroad without fees? Going to Lisbon in March.', 'Kefel Pay', 'normal', 140],
  ['שירה לוי', 'he', 'העברתי לאמא כסף דרך כפל פיי תוך עשר שניות, פשוט נוח', 'כפל פיי', 'low', 260],
  ['مریم', 'fa', 'کسی با کفل‌پی قبض گاز پرداخت کرده؟ کارمزد داره یا نه؟', 'کفل‌پی', 'normal', 410],
  ['عمر', 'ar', 'تحديث كفل الجديد أسرع بكثير من السابق، شكرًا', 'كفل', 'low', 600],
];

function item([author, lang, text, word, urgency, ago]: Said, index: number, now: number): Item {
  const at = text.indexOf(word);
  if (at < 0) throw new Error(`no ${word} in ${text}`);
  const negative = urgency === 'high' || urgency === 'critical';
  return {
    id: `bluesky:${index}-${ago}`,
    source: index % 3 === 1 ? 'telegram' : 'bluesky',
    kind: 'bluesky',
    author,
    text,
    lang,
    url: 'https://example.org/post',
    sentiment: negative ? 'negative' : urgency === 'low' ? 'positive' : 'neutral',
    urgency,
    intent: negative ? 'complaint' : 'question',
    queries: ['kefel'],
    published: now - ago * 1000,
    received: now - ago * 1000 + 300,
    marks: [[at, at + word.length]],
  };
}

/** An hour around `level` mentions a minute, wavy but the same each time; with a `burst`, the last 14 minutes run away. */
function hour(now: number, level: number, burst: number): Minute[] {
  const end = Math.floor(now / MINUTE) * MINUTE;
  return Array.from({ length: 60 }, (_, index) => {
    const wave = Math.sin(index * 1.7) * 0.1 + Math.sin(index * 0.6) * 0.08;
    const late = Math.max(0, index - 45) / 14;
    const total = Math.round(level * (1 + wave) + burst * late ** 1.6);
    return { at: end - (59 - index) * MINUTE, total, negative: Math.round(total * (0.17 + wave * 0.2 + (burst ? 0.42 * late : 0))) };
  });
}

const SOURCE: WallSource = {
  id: 'bluesky',
  kind: 'bluesky',
  realm: 'live',
  status: 'live',
  detail: '',
  last: 0,
  received: 90_000,
  matched: 1_200,
  duplicated: 3,
  dead: 0,
  late: 0,
  gaps: 0,
  reconnects: 0,
};

function sources(now: number, realm: Realm, wrong: boolean): WallSource[] {
  const source = (id: string, last: number, more: Partial<WallSource> = {}): WallSource => ({
    ...SOURCE,
    id,
    realm,
    last: now - last * 1000,
    ...more,
  });
  return [
    source('bluesky', 0.4),
    source('telegram', 3, wrong ? { late: 12 } : {}),
    source('news-rss', 48, wrong ? { status: 'stalled', last: now - 74_000 } : {}),
    source('reviews', 1, wrong ? { status: 'unreachable', last: null, gaps: 1, dead: 3 } : {}),
  ];
}

function alert(now: number, id: string, title: string, severity: 1 | 2 | 3, ago: number, more: Partial<WallAlert>): WallAlert {
  const started = now - ago * 1000;
  return { id, title, severity, state: 'firing', started, changed: started, by: '', reason: '', count: 0, realm: 'live', ...more };
}

/** Figures off the usual, alerts in every state, sources in trouble. */
export function crisis(realm: Realm = 'live', now = Date.now()): Snapshot {
  return {
    ...emptySnapshot(realm, now),
    title: 'Kefel',
    figures: {
      per_minute: 1_214,
      per_minute_usual: { low: 380, middle: 430, high: 510 },
      negative: 0.52,
      negative_usual: { low: 0.12, middle: 0.18, high: 0.26 },
      urgent: 17,
      urgent_oldest: now - 6 * MINUTE,
      delay_p95: 0.62,
      heard_today: 1_204_118,
      stored_total: 48_204_118,
    },
    minutes: hour(now, 430, 800),
    usual: { low: 350, middle: 430, high: 510 },
    items: [...CRISIS, ...CALM].map((said, index) => item(said, index, now)),
    alerts: [
      alert(now, 'a1', 'תשלומים נכשלים באפליקציה', 1, 252, { reason: '61 % negative, usual 18 %', count: 214, realm }),
      alert(now, 'a2', 'NovaAir: stranded passengers at TLV', 2, 24 * 60, { state: 'acknowledged', by: 'Noa', reason: '5 critical in 10 min', count: 41, realm }),
      alert(now, 'a3', 'کندی سایت', 3, 62 * 60, { reason: 'volume 2.4 × usual', count: 96, realm }),
      alert(now, 'a4', 'Reviews below two stars', 2, 180, { state: 'no_data', reason: 'reviews is unreachable', realm }),
      alert(now, 'a5', 'شكاوى التوصيل', 2, 95 * 60, { state: 'resolved', changed: now - 4 * MINUTE, reason: 'back below 20 %', count: 120, realm }),
    ],
    sources: sources(now, realm, true),
  };
}

/** An ordinary hour: nothing coloured. */
export function calm(realm: Realm = 'live', now = Date.now()): Snapshot {
  const full = crisis(realm, now);
  return {
    ...full,
    figures: { ...full.figures, per_minute: 421, negative: 0.17, urgent: 0, urgent_oldest: null, heard_today: 412_940 },
    minutes: hour(now, 430, 0),
    items: CALM.map((said, index) => item(said, index, now)),
    alerts: [],
    sources: sources(now, realm, false),
  };
}

/** The first minutes of a new installation: no history, hardly a mention. */
export function fresh(realm: Realm = 'live', now = Date.now()): Snapshot {
  const full = calm(realm, now);
  return {
    ...full,
    figures: { ...emptySnapshot().figures, per_minute: 2, heard_today: 7, urgent: 1, urgent_oldest: now - 20_000, delay_p95: 0.31 },
    minutes: full.minutes.slice(-4).map((minute) => ({ ...minute, total: 2, negative: 1 })),
    usual: null,
    items: [item(CRISIS[0] as Said, 0, now)],
    sources: full.sources.slice(0, 2),
  };
}

export const SCENES = { crisis, calm, fresh };
