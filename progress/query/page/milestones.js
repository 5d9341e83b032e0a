// The learner's milestones: the newest of them in a card, and one that is reached while the page is open.

import { h } from './dom.js';
import { longDay } from './format.js';
import { t } from './i18n.js';
import { card, mark } from './layout.js';

/** The newest milestones up to the day that the page shows; nothing if there are none. `ofAll` says what they count. */
export function milestones({ milestones: { edges }, day }, ofAll) {
  const reached = edges.map((edge) => edge.node).filter((milestone) => milestone.reachedOn <= day);
  return reached.length > 0 && card('milestones', t('milestones.title'), 'wide', ofAll(),
    h('dl', { class: 'pairs' }, reached.map((milestone) =>
      h('div', null, h('dt', null, nameOf(milestone)), h('dd', null, longDay(milestone.reachedOn))))));
}

/** A note about a milestone that was just reached. */
export const celebration = (milestone) => milestone &&
  h('div', { class: 'cheer', 'data-key': 'cheer' }, mark('good', reachedText(milestone)));

export const reachedText = (milestone) => t('milestones.reached', { milestone: nameOf(milestone) });

const nameOf = ({ kind, value, level }) => t(`milestones.kinds.${kind}`, { count: value ?? 0, level });
