// The items with the lowest accuracy.

import { h } from './dom.js';
import { distance, percent } from './format.js';
import { t } from './i18n.js';
import { card, note, section, table } from './layout.js';

export function items({ weakest }) {
  const rows = weakest.edges.map((edge) => edge.node);
  const more = weakest.totalCount - rows.length;
  return section('items', t('weakest.section'), card('weakest', t('weakest.title'), 'wide',
    note(t(rows.length ? 'weakest.meaning' : 'weakest.none')),
    rows.length > 0 && table([t('weakest.item'), t('weakest.right'), t('weakest.due')], rows.map(cells), 'items'),
    more > 0 && note(t('weakest.more', { count: more }))));
}

const cells = (item) => [
  [word(item), item.level !== 'UNKNOWN' && ' ', item.level !== 'UNKNOWN' && h('span', { class: 'tag' }, item.level)],
  [h('b', null, percent(item.accuracyRate)),
    h('span', { class: 'of' }, t('weakest.of', { right: item.correctAnswers, count: item.answers }))],
  formatDue(item.dueAt),
];

/** The headword in its own language, or the id of an item without a headword. */
export function word({ headword, itemId, language }) {
  if (!headword) return h('span', { class: 'id', translate: 'no' }, itemId);
  return h('span', { class: 'word', lang: language ?? languageOf(headword), translate: 'no' }, headword);
}

/** The language of a word if its script determines it; else unknown, which is "". */
function languageOf(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return 'ja';
  return /\p{Script=Hangul}/u.test(text) ? 'ko' : '';
}

function formatDue(dueAt) {
  if (!dueAt) return '–';
  return Date.parse(dueAt) <= Date.now() ? t('weakest.now') : distance(dueAt);
}
