/**
 * `npm run demo [-- crisis|calm|fresh [live|rehearsal|replay]]`: serve the built page with an invented wall on 127.0.0.1.
 *
 * Prints the address. A line on standard input changes things: `silent`, `beat`, `kill`, `start`.
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

const backend = await new Backend(SCENES[scene](realm), join(here, '..', '..', 'app', 'static')).start();
let beating = true;
setInterval(() => beating && backend.push({}), 1000);
console.log(backend.origin);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'silent') beating = false;
  else if (line === 'beat') beating = true;
  else if (line === 'kill') await backend.kill();
  else if (line === 'start') await backend.start();
}
