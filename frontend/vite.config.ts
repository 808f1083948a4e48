/**
 * Building the wall: `npm ci && npm run build` writes ../app/static, which the server serves as it is.
 *
 * `npm test` type-checks and runs the unit tests; `npm run dev` serves the page with reload and passes /api and /ws on to
 * a server on port 8000; `npm run demo` serves the built page with invented mentions, for looking at it.
 *
 * The build's hash comes from the sources, so the same sources give the same hash on every machine. The page knows it
 * as __BUILD__, the server reads it from build.json, and a page of another build reloads itself.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const HERE = import.meta.dirname;

function buildHash(): string {
  const files = readdirSync(join(HERE, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const hash = createHash('sha256');
  for (const file of [...files, ...['index.html', 'package-lock.json', 'vite.config.ts'].map((name) => join(HERE, name))]) {
    hash.update(file.slice(HERE.length)).update('\0').update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex').slice(0, 12);
}

function buildFile(hash: string): Plugin {
  return {
    name: 'build-file',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'build.json', source: `${JSON.stringify({ hash })}\n` });
    },
    closeBundle: () => console.log(`build ${hash}`),
  };
}

const HASH = buildHash();

export default defineConfig({
  plugins: [svelte(), buildFile(HASH)],
  define: { __BUILD__: JSON.stringify(HASH) },
  build: {
    outDir: '../app/static',
    emptyOutDir: true,
    target: 'es2023',
    // No data: URLs, so that a strict Content-Security-Policy can be served with the page.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/api': 'http://127.0.0.1:8000', '/ws': { target: 'ws://127.0.0.1:8000', ws: true } },
  },
  test: { include: ['test/**/*.test.ts'], testTimeout: 20_000 },
});
