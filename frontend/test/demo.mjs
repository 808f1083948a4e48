/**
 * `npm run demo [-- crisis|calm|fresh [live|rehearsal|replay]]`: serve the built page with an invented wall on 127.0.0.1.
 *
 * Prints the address. A line on standard input changes things: `silent`, `beat`, `kill`, `start`, `end`, and `busy`: from then on
 * two hundred mentions a second, for measuring.
 */
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { createServer } from 'vite';

const here = import.meta.dirname;
const [scene = 'crisis', realm = 'live'] = process.argv.slice(2);
// Vite runs the TypeScript of this folder as it is, on every Node that builds the page.
const vite = await createServer({ root: join(here, '..'), server: { middlewareMode: true, ws: false }, appType: 'custom' });
const { Backend } = await vite.ssrLoadModule('/test/backend.ts');
const { SCENES } = await vite.ssrLoadModule('/test/scenes.ts');

/** @type {import('./backend').Backend} */
const backend = await new Backend(SCENES[scene](realm), join(here, '..', '..', 'app', 'static')).start();
let beating = true;
setInterval(() => beating && backend.push({}), 1000);
console.log(backend.origin);

/** Five frames a second, each with the ten most urgent of forty. */
function busy() {
  let n = 0;
  setInterval(() => {
    const now = Date.now();
    const { items, figures } = backend.snapshot;
    const ins = Array.from({ length: 10 }, (_, index) => ({
      .../** @type {import("../src/protocol").Item} */ (items[index % items.length]),
      id: `busy:${n}:${index}`,
      published: now,
    }));
    n += 1;
    const minute = { at: now - (now % 60_000), total: n * 40, negative: n * 9 };
    const next = { ...figures, heard_today: figures.heard_today + 40, per_minute: 12_000 };
    backend.push({ ins, more: 30, figures: next, minutes: [minute], gone: [`busy:${n - 20}:0`] });
    backend.snapshot.items.length = Math.min(50, backend.snapshot.items.length);
  }, 200);
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'silent') beating = false;
  else if (line === 'beat') beating = true;
  else if (line === 'kill') await backend.kill();
  else if (line === 'start') await backend.start();
  else if (line === 'end') {
    beating = false;
    backend.push({ sources: backend.snapshot.sources.map((source) => ({ ...source, status: 'finished' })) });
  } else if (line === 'busy') busy();
}
