/** How long to wait before the next attempt to connect. */

const FIRST_MS = 1_000;
const LAST_MS = 30_000;
const JITTER = 0.3;

/** Delay before retry number `attempt` (from 0): 1 s doubling to 30 s, and up to 30 % more so that crowds spread. */
export function backoffMs(attempt: number, random: () => number): number {
  const base = Math.min(FIRST_MS * 2 ** attempt, LAST_MS);
  return base + base * JITTER * random();
}
