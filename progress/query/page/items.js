// The items with the lowest accuracy.

import { h } from './dom.js';
import { distance, number, percent } from './format.js';

export function items({ weakest }) {
  const rows = weakest.edges.map((edge) => edge.node);
  const more = weakest.totalCount - rows.length;
  return h('section', { class: 'card', 'aria-labelledby': 'items', 'data-key': 'items' },
    h('h2', { id: 'items' }, 'Weakest items'),
    h('p', { class: 'note' }, rows.length
      ? 'Three answers or more, fewer than 60% of them right.'
      : 'None: no item has three answers or more with fewer than 60% right.'),
    rows.length > 0 && h('table', { class: 'rows items' },
      h('thead', null, h('tr', null,
        h('th', { scope: 'col' }, 'Item'), h('th', { scope: 'col', class: 'end' }, 'Right'),
        h('th', { scope: 'col', class: 'end' }, 'Due'))),
      h('tbody', null, rows.map(row))),
    more > 0 && h('p', { class: 'note' }, `And ${number(more)} more.`));
}

function row(item) {
  const level = item.level === 'UNKNOWN' ? null : h('span', { class: 'tag' }, item.level);
  return h('tr', { 'data-key': item.itemId },
    h('th', { scope: 'row' }, word(item), level && ' ', level),
    h('td', { class: 'end' },
      h('b', null, percent(item.accuracyRate)),
      h('span', { class: 'of' }, `${number(item.correctAnswers)} of ${number(item.answers)}`)),
    h('td', { class: 'end' }, formatDue(item.dueAt)));
}

function word({ headword, itemId }) {
  if (!headword) return h('span', { class: 'id' }, itemId);
  return h('span', { class: 'word', lang: language(headword) }, headword);
}

/** The language of a word if its script determines it. */
function language(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return 'ja';
  return /\p{Script=Hangul}/u.test(text) ? 'ko' : null;
}

function formatDue(dueAt) {
  if (!dueAt) return '–';
  return Date.parse(dueAt) <= Date.now() ? 'now' : distance(dueAt);
}
