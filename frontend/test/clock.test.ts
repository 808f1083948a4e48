import { expect, it } from 'vitest';
import { ServerClock, Uptime } from '../src/clock';

it('knows nothing before the first frame', () => {
  expect(new ServerClock().now(5)).toBeNull();
});

it('takes the frame that waited least as its measure', () => {
  const clock = new ServerClock();
  clock.learn(1_000_000, 120); // 120 ms on the way
  clock.learn(1_000_200, 230); // 30 ms
  clock.learn(1_000_400, 10_400); // hung in a proxy for ten seconds
  expect(clock.now(10_400)).toBe(1_010_370);
});

it('heals after the server clock was set forward or back', () => {
  const clock = new ServerClock();
  for (let n = 0; n < 10; n++) clock.learn(1_000_000 + n * 200, n * 200);
  for (let n = 10; n < 12; n++) clock.learn(5_000_000 + n * 200, n * 200);
  expect(clock.now(2_200)).toBe(5_002_200);
  for (let n = 12; n < 170; n++) clock.learn(1_000_000 + n * 200, n * 200);
  expect(clock.now(34_000)).toBe(1_034_000);
});

it('forgets: then one sample decides', () => {
  const clock = new ServerClock();
  clock.learn(1_000_000, 0);
  clock.forget();
  clock.learn(2_000, 5_000);
  expect(clock.now(5_000)).toBe(2_000);
});

it('counts a sleep in which the browser stood still, and mends a clock that was set with the next frame', () => {
  const clock = new ServerClock();
  const uptime = new Uptime(() => clock.forget());
  clock.learn(1_000_000, uptime.now(1_000, 1_000_000));
  expect(clock.now(uptime.now(1_200, 1_000_200))).toBe(1_000_200);
  expect(clock.now(uptime.now(1_400, 8_200_400))).toBe(8_200_400); // two hours of sleep
  clock.learn(8_200_600, uptime.now(1_600, 8_200_600));
  uptime.now(1_800, 9_200_800); // set forward
  clock.learn(8_201_000, uptime.now(2_000, 9_201_000));
  expect(clock.now(uptime.now(2_200, 9_201_200))).toBe(8_201_200);
  expect(clock.now(uptime.now(2_400, 1_400))).toBe(8_201_400); // set back
});
