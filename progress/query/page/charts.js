// Charts as plain SVG, of columns; line_charts.js has lines. Positions are percentages, so a chart fits any width.

import { h, s } from './dom.js';
import { instant, monthTick, number, shortDay } from './format.js';
import { join, t } from './i18n.js';

const MAX_BY_DAY = 120 * 86_400_000; // milliseconds; the axis of a longer chart names months
const MIN_SLOTS = 12; // fewer columns leave room at the right, so that none is as wide as the chart
const MAX_POSTS = 7; // more columns have ticks instead of a number above each

export const rules = () => [0, 50, 100].map((y) =>
  s('line', { class: 'rule', x1: 0, x2: '100%', y1: `${y}%`, y2: `${y}%` }));

/**
 * Draw one column for each entry { parts, title, key, href }. `parts` are the parts of the column from the bottom up,
 * each as [class, value]. `title` describes the column. `key` says which column it is after the chart is drawn again;
 * without it, its place does. `href` leads to the words behind it. `top` is the value at the upper edge of the chart,
 * which has `room` for so many columns.
 */
export function columns(entries, top, label, room = entries.length) {
  const width = 100 / room;
  return s('svg', { class: 'bars', role: 'img', 'aria-label': label },
    rules(),
    entries.map(({ parts, title, key, href }, index) => s('g', { 'data-key': key ?? index, 'data-href': href },
      s('title', null, title),
      s('rect', { class: 'hit', x: `${width * index}%`, width: `${width}%`, y: 0, height: '100%' }),
      stack(parts, top).map(([name, y, height]) => s('rect', {
        class: name, rx: 2,
        x: `${width * (index + 0.14)}%`, width: `${0.72 * width}%`, y: `${y}%`, height: `${height}%`,
      })))));
}

/** The parts of a column of answers: the right ones and the wrong ones, hatched while their time is not over. */
export const answerParts = (right, answers, isOpen) => [['right', right], ['wrong', answers - right]]
  .map(([name, count]) => [isOpen ? `${name} unfinished` : name, count]);

export const openKey = () => ['right unfinished', t('weeks.unfinished')];

/** The link to the words behind the column that the user has tapped. */
export const door = () => h('a', { class: 'door', 'data-key': 'door' }, t('items.see'));

export const slots = (count) => Math.max(count, MIN_SLOTS);

/** For each part with a value above 0: its class, and its upper edge and height in percent. */
function stack(parts, top) {
  let y = 100;
  return parts.filter(([, value]) => value > 0).map(([name, value]) => {
    const height = Math.max((100 * value) / (top || 1), 1.5);
    y -= height;
    return [name, y, height];
  });
}

/** A drawing with three ticks beside it, for the `range` of its values, an axis below it, and the ends of its lines. */
export const chart = (drawing, [low, high], show, below, right) => h('div', { class: 'chart' },
  h('div', { class: 'plot' },
    h('p', { class: 'ticks', 'aria-hidden': 'true' },
      [high, (low + high) / 2, low].map((value) => h('span', null, show(value)))),
    drawing, right),
  below);

/** The labels below a chart that has `steps` steps. Each label is [step, text], and its middle is that of the step. */
export const axis = (labels, steps) => s('svg', { class: 'axis', 'aria-hidden': 'true' }, labels.map(([step, text]) =>
  s('text', { x: `${(100 * (step + 0.5)) / steps}%`, y: '1.45em', 'text-anchor': 'middle' }, text)));

/** The first, middle and last date, if they are apart in a chart of `room` steps: as days or, of long times, months. */
export function dateLabels(dates, room = dates.length) {
  const isShort = instant(dates.at(-1)) - instant(dates[0]) < MAX_BY_DAY;
  const last = dates.length - 1;
  const steps = [0, last >= room / 2 && Math.floor(dates.length / 2), last >= room / 4 && last];
  return [...new Set(steps.map(Number))].map((step) => [step, (isShort ? shortDay : monthTick)(dates[step])]);
}

/** A legend: `entries` are [class, text]. */
export function legend(entries) {
  return h('ul', { class: 'legend' }, entries.map(([name, ...text]) =>
    h('li', null,
      s('svg', { width: 12, height: 12, 'aria-hidden': 'true' },
        s('rect', { class: name, width: 12, height: 12, rx: 3 })),
      text)));
}

/** A bar that shows the parts in proportion to the total. A part above 0 is always visible. */
export function bar(parts, total) {
  let x = 0;
  return s('svg', { class: 'bar', 'aria-hidden': 'true' }, parts.map(([name, value]) => {
    const width = value && Math.min(Math.max((100 * value) / (total || 1), 0.6), 100 - x);
    const part = s('rect', { class: name, x: `${x}%`, y: 0, width: `${width}%`, height: '100%' });
    x += width;
    return part;
  }));
}

/** The smallest round even number that is at least `most` and 2: the top of a scale of counts with a middle. */
export function roundUp(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  const tops = [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => Math.round(step * size * 10) / 10);
  return tops.find((top) => top >= most && top % 2 === 0);
}

/**
 * A chart of counts over time. Each of the `entries` has a value, the first `day` of its time, a text that says both,
 * and a name, and perhaps an `href` to what it counts. Its style is "unfinished" for a time that is not over. A few
 * columns have their numbers above and their names below them; more have ticks, and an axis of dates.
 */
export function counts(entries) {
  const most = Math.max(...entries.map(({ value }) => value));
  if (entries.length <= MAX_POSTS) return h('ol', { class: 'posts' }, entries.map((entry) => post(entry, most)));
  const top = roundUp(most);
  const told = most ? entries.filter(({ value }) => value) : entries;
  const label = join(told.map(({ text }) => text));
  return chart(
    columns(entries.map(({ value, text, day, href, style = 'count' }) => ({
      parts: [[style, value]], title: text, key: day, href: value ? href : null,
    })), top, label),
    [0, top], number, axis(dateLabels(entries.map(({ day }) => day)), entries.length), door());
}

function post({ value, text, name, href, style = 'count' }, most) {
  const height = value && Math.max((100 * value) / most, 2);
  return h('li', null, h(value && href ? 'a' : 'div', { href: value ? href : null },
    h('span', { class: 'unseen' }, text),
    h('span', { class: 'of', 'aria-hidden': 'true' }, value ? number(value) : ''),
    s('svg', { class: 'post', 'aria-hidden': 'true' },
      s('rect', { class: style, x: '14%', width: '72%', y: `${100 - height}%`, height: `${height}%`, rx: 2 })),
    h('span', { class: 'of', 'aria-hidden': 'true' }, name)));
}
