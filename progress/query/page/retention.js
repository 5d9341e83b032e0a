// Retention: how many items the learner still knew when they came up again on a later day.

import { axis, legend, lines, monthLabels, plot } from './charts.js';
import { h } from './dom.js';
import { dayAfter, percent } from './format.js';
import { t } from './i18n.js';
import { card, note, table } from './layout.js';

const WINDOW = 28; // days; each point of a line is the rate of so many
const MIN_TESTS = 5; // a rate of fewer tests is not drawn

export function retention({ retention: rows, day }) {
  const since = (count) => rows.filter((row) => row.start > dayAfter(day, -count) && row.start <= day);
  const body = [7, 28, 365].map((count) => [
    t('retention.lastDays', { count }), ...['young', 'mature'].map((name) => rate(since(count), name))]);
  const headers = [h('span', { class: 'unseen' }, t('retention.period')), t('retention.young'), t('retention.mature')];
  return card('retention', t('retention.title'), null,
    note(t('retention.meaning')), table(headers, body), retentionLines(rows, day));
}

function rate(rows, name) {
  const [asked, recalled] = tests(rows, name);
  if (!asked) return '–';
  return [h('b', null, percent(recalled / asked)), h('span', { class: 'of' }, t('retention.asked', { count: asked }))];
}

const tests = (rows, name) => rows.reduce(
  ([asked, recalled], row) => [asked + row[name].asked, recalled + row[name].recalled], [0, 0]);

/** A line for each maturity over the last year: at each week, the rate of the four weeks before. */
function retentionLines(rows, day) {
  const ends = Array.from({ length: 53 }, (_, index) => dayAfter(day, 7 * (index - 52)));
  const series = ['young', 'mature'].map((name) => ({
    name,
    values: ends.map((end) => {
      const from = dayAfter(end, -WINDOW);
      const [asked, recalled] = tests(rows.filter((row) => row.start > from && row.start <= end), name);
      return asked >= MIN_TESTS ? recalled / asked : null;
    }),
  }));
  const known = series.flatMap(({ values }) => values).filter((value) => value != null);
  if (known.length < 2) return null;
  const low = Math.max(0, Math.floor(10 * Math.min(...known) - 0.5) / 10);
  return h('div', { class: 'chart grows' },
    plot(lines(series, [low, 1], t('retention.chart')), percent(1), percent(low)),
    axis(monthLabels(ends), ends.length),
    legend([['young', t('retention.youngLong')], ['mature', t('retention.matureLong')]]));
}
