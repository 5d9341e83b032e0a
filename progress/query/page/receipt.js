// The receipt of an erasure: what was erased, where the learner's id still occurs, and until when copies exist.

import { h } from './dom.js';
import { longDay, moment, number } from './format.js';
import { join, t } from './i18n.js';

const PLACES = [
  'events', 'sessions', 'pending', 'dead_letters', 'snapshots', 'poisoned', 'operations', 'exports', 'files',
  'archived_events',
];
const COPIES = ['backups', 'pubsub', 'pubsub_dead_letters'];

/** The receipt as a list. `result` is the result of the operation as JSON. */
export function receipt(result) {
  const { digest, erased_at, closed_at, erased, found, places, in_events_of_others, copies_until } = JSON.parse(result);
  const left = join(Object.entries(places).map(([place, rows]) => t('receipt.left', { rows, place })));
  const facts = [
    [t('receipt.learner'), h('span', { translate: 'no' }, digest)],
    [t('receipt.since'), moment(erased_at)],
    [t('receipt.complete'), moment(closed_at)],
    ...PLACES.filter((place) => place in erased).map((place) => [t(`receipt.places.${place}`), number(erased[place])]),
    [t('receipt.found'), left ? t('receipt.foundIn', { found, left }) : number(found)],
    [t('receipt.others'), number(in_events_of_others)],
    ...COPIES.map((copies) => [t(`receipt.copies.${copies}`), longDay(copies_until[copies])]),
  ];
  return h('dl', { class: 'receipt', 'aria-label': t('receipt.title') },
    facts.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]));
}
