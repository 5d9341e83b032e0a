// A short celebration: rays around an element. Nothing moves if the user prefers reduced motion.

import { s } from './dom.js';

const RAYS = 12;
const DURATION_MS = 1_000;

const mayMove = () => !matchMedia('(prefers-reduced-motion: reduce)').matches;

export function cheer(element) {
  if (!mayMove() || !element) return;
  const rays = s('svg', { class: 'rays', 'aria-hidden': 'true', viewBox: '-50 -50 100 100' },
    Array.from({ length: RAYS }, (_, index) => s('g', { transform: `rotate(${(360 * index) / RAYS})` },
      s('circle', { class: index % 2 ? 'right' : 'slipped', cy: -24, r: 2.5 }))));
  element.append(rays);
  const motion = rays.animate(
    [{ transform: 'scale(.4)', opacity: 1 }, { transform: 'scale(1.6)', opacity: 0 }],
    { duration: DURATION_MS, easing: 'ease-out' });
  motion.finished.finally(() => rays.remove());
}

export function rise(element) {
  if (mayMove()) {
    element.animate([{ transform: 'translateY(40%)', opacity: 0.2 }, { transform: 'none', opacity: 1 }], 400);
  }
}

/** Celebrate the newest milestone of a view without a feed of them. `before` is its former data. */
export function cheerNew(view, before) {
  const [newest, former] = [view.data, before].map(({ milestones }) => milestones.edges[0]?.node);
  if (newest && newest.id !== former?.id) view.celebrate(newest);
}
