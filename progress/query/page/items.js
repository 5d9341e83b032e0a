// The items with the lowest accuracy, and the way to all items.

import { h } from './dom.js';
import { distance, percent } from './format.js';
import { t } from './i18n.js';
import { card, note, section, table } from './layout.js';
import { itemList, itemPage, level, word } from './words.js';

export function items({ weakest, user }) {
  const rows = weakest.edges.map((edge) => edge.node);
  const more = weakest.totalCount - rows.length;
  return section('items', t('weakest.section'), card('weakest', t('weakest.title'), 'wide',
    note(t(rows.length ? 'weakest.meaning' : 'weakest.none')),
    rows.length > 0 && table(
      [t('weakest.item'), t('weakest.right'), t('weakest.due')], rows.map((item) => cells(item, user)), 'items'),
    more > 0 && note(t('weakest.more', { count: more })),
    h('p', null, h('a', { class: 'button quiet', href: itemList(user) }, t('items.all')))));
}

const cells = (item, user) => [
  [h('a', { href: itemPage(item.itemId, user) }, word(item)), level(item)],
  [h('b', null, percent(item.accuracyRate)),
    h('span', { class: 'of' }, t('weakest.of', { right: item.correctAnswers, count: item.answers }))],
  formatDue(item.dueAt),
];

function formatDue(dueAt) {
  if (!dueAt) return '–';
  return Date.parse(dueAt) <= Date.now() ? t('weakest.now') : distance(dueAt);
}
