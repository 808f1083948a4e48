/** Entry: fonts first, for a chart drawn before its font is there stays wrong; then the wall. */
import { mount } from 'svelte';
import './fonts.css';
import './wall.css';
import App from './App.svelte';
import { screen } from './screen';

/** A font that does not come within this time does not hold up the wall. */
const FONTS_WITHIN = 3_000;

const target = document.getElementById('wall');
if (target === null) throw new Error('index.html has no element #wall');

const fonts = ['A', 'א', 'ا'].map((letter) => document.fonts.load('400 16px Wall', letter));
await Promise.race([Promise.allSettled(fonts), new Promise((done) => setTimeout(done, FONTS_WITHIN))]);

const told = screen(location.pathname, location.search);
// Before anything measures itself.
document.documentElement.style.setProperty('--scale', String(told.scale));
mount(App, { target, props: { screen: told } });
