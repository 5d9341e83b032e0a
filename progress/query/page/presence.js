// Whether somebody looks at the page. While nobody does, no subscription has a connection, and no view asks again: each
// open connection keeps an instance of the server busy.

const PAUSE_MS = 60_000 * document.querySelector('meta[name="pause"]').content; // 0: no pause while the page is visible
const INPUTS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'scroll'];
const changes = new EventTarget();
let timer;
let isResting = false; // nobody has touched the visible page for PAUSE_MS

export const isAway = () => document.hidden || isResting;
export const isPaused = () => isResting;

/** Call `react` when somebody leaves or returns. The signal ends this. */
export function onPresence(react, signal) {
  changes.addEventListener('change', react, { signal });
}

const tell = () => changes.dispatchEvent(new Event('change'));

function touch() {
  clearTimeout(timer);
  timer = setTimeout(() => rest(true), PAUSE_MS);
  if (isResting) rest(false);
}

function rest(next) {
  isResting = next;
  tell();
}

document.addEventListener('visibilitychange', tell);
if (PAUSE_MS) {
  for (const input of INPUTS) addEventListener(input, touch, { capture: true, passive: true });
  touch();
}
