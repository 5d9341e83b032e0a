// Elements that several parts of the page use: section, card, note, mark, table, the expected number of items; and from
// when on a learner's page has them. Until then, a line says what comes when.

import { bar } from './charts.js';
import { h, s } from './dom.js';
import { clock, floor, instant, number } from './format.js';
import { STAGES, isBatchLate, masteredNow } from './freshness.js';
import { parts, t } from './i18n.js';
import { firstDay } from './periods.js';
import { pastDay } from './past_day.js';

/** The least number of each section, and of the cards that need another one than their section. */
export const LEAST = {
  'how-far': ['words', 5],
  skills: ['answersInTwoSkills', 20],
  improving: ['days', 14],
  comparison: ['days', 29],
  retention: ['tests', 1],
  mastered: ['known', 1],
  when: ['answers', 20],
  due: ['reviews', 1],
  items: ['answers', 20],
};

const total = (rows, name) => [...rows].reduce((sum, row) => sum + row[name], 0);
const known = ({ progress }) => (progress ? masteredNow(progress.masteryStats) : 0);

// The days begin with the last calendar year; what was earlier shows in the words and in the longest streak.
const COUNTS = {
  words: ({ progress }) => STAGES.reduce((sum, name) => sum + progress.masteryStats[name], 0),
  answers: ({ days, progress }) => Math.max(total(days.values(), 'answers'), progress.totalItemsLearned),
  answersInTwoSkills: ({ domains }) => domains.map(({ answers }) => answers).sort((a, b) => b - a)[1],
  days: ({ days, day, streak }) => {
    const first = firstDay(days, day);
    return 1 + (instant(day) - instant(streak?.longestStart < first ? streak.longestStart : first)) / 86_400_000;
  },
  tests: ({ retention }) => total(retention.flatMap(({ young, mature }) => [young, mature]), 'asked'),
  known: (data) => total(data.days.values(), 'newMasteryCount') + known(data),
  reviews: (data) => total(data.due, 'items') + known(data),
};

export const has = (name, data) => COUNTS[LEAST[name][0]](data) >= LEAST[name][1];

export function section(id, title, ...cards) {
  return cards.flat().some(Boolean) && h('section', { class: 'section', 'aria-labelledby': id, 'data-key': id },
    h('h2', { id, tabindex: -1 }, title),
    h('div', { class: 'cards' }, cards));
}

/** A card with a heading. `style` is "wide" for a card over the whole width. */
export function card(key, title, style, ...content) {
  return h('div', { class: `card ${style ?? ''}`.trim(), 'data-key': key }, h('h3', null, title), content);
}

/** A card that is a section. Its heading can have the focus. */
export const panel = (key, title, style, ...content) => h('section', {
  class: `card ${style ?? ''}`.trim(), 'aria-labelledby': key, 'data-key': key,
}, h('h2', { id: key, tabindex: -1 }, title), ...content);

export const pairs = (rows) => h('dl', { class: 'pairs' }, rows.map(([name, value]) =>
  h('div', null, h('dt', null, name), h('dd', null, value))));

/** A quiet button whose `data-KIND` is its name. */
export const button = (kind, name, text) =>
  h('button', { type: 'button', class: 'button quiet', [`data-${kind}`]: name, 'data-key': name }, text);

export const note = (...content) => h('p', { class: 'note' }, content);

/** When the numbers of a view without a subscription were asked for, and a button that asks again; not in the past. */
export const stamp = (at) => !pastDay() && h('p', { class: 'note stamp', 'data-key': 'stamp' },
  t('stamp.at', { time: clock(at) }), ' · ',
  h('button', { type: 'button', 'data-refresh': true }, t('stamp.refresh')));

/** The number of items that learners are expected to know, of all answered items: a large figure and a bar. */
export function expectedOf({ expected, items }) {
  const large = h('strong', null, number(floor(expected)));
  const texts = parts('expected.of', { expected: large, count: items });
  const at = texts.indexOf(large);
  const small = (some) => some.length > 0 && h('span', null, some.join(''));
  return [
    h('p', { class: 'figure' }, small(texts.slice(0, at)), large, small(texts.slice(at + 1))),
    bar([['right', expected]], items),
  ];
}

const MARKS = {
  good: 'M3 8.5l3.2 3.2L13 5', warn: 'M8 3v6M8 12.2v.6', wait: 'M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12M8 5v3.2l2 1.4',
};

/** A short statement with an icon. `kind` is good, warn (the learner should act) or wait (numbers will follow). */
export function mark(kind, text) {
  return h('p', { class: `mark ${kind}` },
    s('svg', { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: MARKS[kind] })),
    text);
}

/** That levels, skills or weeks, which the batch job counts, are being counted. */
export const counting = (data) => mark('wait', t(isBatchLate(data) ? 'levels.late' : 'levels.counting'));

/**
 * A table. Each row is a list of cells. The first cell is the row's header; the other cells are right-aligned. With the
 * style "stacking", a phone shows the cells of a row below each other, each with its header. `keys` name the rows, if
 * other rows may come between them.
 */
export function table(headers, rows, style = '', keys = []) {
  const labels = style.startsWith('stacking') ? headers.map((name) => name.textContent ?? name).slice(1) : [];
  return h('table', { class: `rows ${style}`.trim() },
    h('thead', null, h('tr', null, headers.map((name, index) =>
      h('th', { scope: 'col', class: index ? 'end' : null, 'aria-sort': name.dataset?.sort }, name)))),
    h('tbody', null, rows.map(([first, ...cells], at) => h('tr', { 'data-key': keys[at] },
      h('th', { scope: 'row' }, first),
      cells.map((cell, index) => h('td', { class: 'end', 'data-label': labels[index] }, cell))))));
}

export const unfolded = (label, ...content) => h('details', null,
  h('summary', null, t('weeks.table', { name: label })),
  h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': label }, content));
