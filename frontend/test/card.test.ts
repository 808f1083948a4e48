/** What a card and an alert become as HTML: rendered on the server side, so without a browser. */
import { render } from 'svelte/server';
import { describe, expect, it } from 'vitest';
import Card from '../src/Card.svelte';
import { item, NOW } from './fixtures';

const html = (more: Parameters<typeof item>[1], realm: 'live' | 'rehearsal' | 'replay' = 'live'): string =>
  render(Card, { props: { item: item('a', more), realm, now: NOW } }).body.replace(/<!--.*?-->/g, '');

describe('Card', () => {
  it('follows the direction of its own text', () => {
    expect(html({ text: 'שלום' })).toMatch(/^<article [^>]*dir="auto"/);
  });

  it('shows hostile text as text and makes no link', () => {
    const body = html({ text: '<script>alert(1)</script>', author: '<b onclick=x>', url: 'javascript:alert(1)' });
    expect(body).not.toContain('<script');
    expect(body).not.toContain('<b ');
    expect(body).not.toContain('javascript:');
    expect(body).not.toContain('<a ');
    expect(body).toContain('&lt;script');
  });

  it('marks words and isolates handles without a space between pieces', () => {
    const body = html({ text: 'ask @kefel now', marks: [[5, 10]] });
    expect(body).toMatch(/ask <bdi>@<mark[^>]*>kefel<\/mark><\/bdi> now/);
  });

  it('says urgency and sentiment in words', () => {
    const body = html({ urgency: 'critical', sentiment: 'negative' });
    expect(body).toContain('CRITICAL');
    expect(body).toContain('negative');
  });

  it.each(['rehearsal', 'replay'] as const)('carries the mark of a %s', (realm) => {
    expect(html({}, realm)).toContain(realm.toUpperCase());
    expect(html({}, 'live')).not.toContain(realm.toUpperCase());
  });
});
