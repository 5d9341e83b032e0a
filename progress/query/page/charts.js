// Charts as plain SVG: columns and lines. Positions are percentages, so a chart fits any width.

import { h, s } from './dom.js';
import { instant, month, number, shortDay } from './format.js';

const MAX_BY_MONTH = 546 * 86_400_000; // milliseconds

/**
 * Draw one column for each entry { parts, title }. `parts` are the parts of the column from the bottom up, each as
 * [class, value]. `title` describes the column. `top` is the value at the upper edge of the chart.
 */
export function columns(entries, top, label) {
  const width = 100 / entries.length;
  return s('svg', { class: 'bars', role: 'img', 'aria-label': label },
    s('line', { class: 'rule', x1: 0, x2: '100%', y1: 1, y2: 1 }),
    entries.map(({ parts, title }, index) => s('g', null,
      s('title', null, title),
      s('rect', { class: 'hit', x: `${width * index}%`, width: `${width}%`, y: 0, height: '100%' }),
      stack(parts, top).map(([name, y, height]) => s('rect', {
        class: name, rx: 2,
        x: `${width * (index + 0.14)}%`, width: `${0.72 * width}%`, y: `${y}%`, height: `${height}%`,
      })))));
}

/** For each part with a value above 0: its class, and its upper edge and height in percent. */
function stack(parts, top) {
  let y = 100;
  return parts.filter(([, value]) => value > 0).map(([name, value]) => {
    const height = Math.max((96 * value) / (top || 1), 1.5);
    y -= height;
    return [name, y, height];
  });
}

/**
 * Draw one line for each of the `series`, which are { name, values, isStepped }. The points of a line are at equal
 * horizontal distances; a null value leaves a gap. A stepped line keeps a value until the next point. `low` and `high` are the values at the lower and the upper edge of the chart.
 */
export function lines(series, [low, high], label) {
  const steps = series[0].values.length;
  const point = (value, index) =>
    `${round((100 * (index + 0.5)) / steps)},${round(97 - (94 * (value - low)) / (high - low || 1))}`;
  const frame = { viewBox: '0 0 100 100', preserveAspectRatio: 'none' };
  return s('svg', { class: 'lines', role: 'img', 'aria-label': label, ...frame },
    [3, 50, 97].map((y) => s('line', { class: 'rule', x1: 0, x2: 100, y1: y, y2: y })),
    series.map(({ name, values, isStepped }) => s('path', { class: name, d: path(values, point, isStepped) })));
}

const round = (value) => Math.round(100 * value) / 100;

/** A path through the values. A value between two gaps is drawn as a dot. */
function path(values, point, isStepped) {
  let isDrawing = false;
  return values.map((value, index) => {
    if (value == null) {
      isDrawing = false;
      return '';
    }
    const at = point(value, index);
    const isAlone = !isDrawing && values[index + 1] == null;
    const next = isStepped ? `H${at.replace(',', 'V')}` : `L${at}`;
    const command = isAlone ? `M${at}h0` : isDrawing ? next : `M${at}`;
    isDrawing = true;
    return command;
  }).join('');
}

/** A chart's drawing, labelled with the values at its upper and lower edge. The chart fills its card's free height. */
export const plot = (drawing, top, bottom) => h('div', { class: 'plot' }, drawing,
  h('span', { class: 'most', 'aria-hidden': 'true' }, top),
  bottom && h('span', { class: 'least', 'aria-hidden': 'true' }, bottom));

/** The labels below a chart that has `steps` steps. Each label is [step, text], and its middle is that of the step. */
export function axis(labels, steps) {
  return s('svg', { class: 'axis', 'aria-hidden': 'true' }, labels.map(([step, text]) => {
    const x = (100 * (step + 0.5)) / steps;
    const anchor = x < 4 ? 'start' : x > 96 ? 'end' : 'middle';
    return s('text', { x: `${x}%`, y: 14, 'text-anchor': anchor }, text);
  }));
}

/**
 * Labels at the steps where months begin or, if the dates span more than a year and a half, where years begin; the first
 * date, if no month begins.
 */
export function dateLabels(dates) {
  const isLong = instant(dates.at(-1)) - instant(dates[0]) > MAX_BY_MONTH;
  const length = isLong ? 'yyyy'.length : 'yyyy-mm'.length;
  const firsts = dates.map((date, index) => [index, date])
    .filter(([index, date]) => index > 0 && dates[index - 1].slice(0, length) !== date.slice(0, length));
  if (!firsts.length) return [[0, shortDay(dates[0])]];
  const step = Math.ceil(isLong ? firsts.length / 6 : (firsts.length * 5) / dates.length);
  return firsts.filter((_, index) => index % step === 0)
    .map(([index, date]) => [index, isLong ? date.slice(0, 4) : month(date)]);
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

/** The smallest round whole number that is at least `most` and at least 1. It is the top of a scale of counts. */
export function roundUp(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  const tops = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * size);
  return tops.find((top) => top >= most && Number.isInteger(top));
}

/** A column as an item of a list, with its number above and its name below. `text` says the same to screen readers. */
export function post(value, most, text, ...name) {
  const height = value && Math.max((100 * value) / most, 2);
  return h('li', null,
    h('span', { class: 'unseen' }, text),
    h('span', { class: 'of', 'aria-hidden': 'true' }, value ? number(value) : ''),
    s('svg', { class: 'post', 'aria-hidden': 'true' },
      s('rect', { class: 'right', x: '14%', width: '72%', y: `${100 - height}%`, height: `${height}%`, rx: 2 })),
    h('span', { class: 'of', 'aria-hidden': 'true' }, name));
}
