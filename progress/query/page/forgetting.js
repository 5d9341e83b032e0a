// The forgetting curve of an item: the estimated recall falls between the answers, and each answer changes it.

import { axis, chart, legend, rules } from './charts.js';
import { s } from './dom.js';
import { dayOf, fullDay, instant, percent, recallShare, shortDay } from './format.js';
import { t } from './i18n.js';
import { table, unfolded } from './layout.js';
import { ends, frame, round } from './line_charts.js';
import { pastDay } from './past_day.js';

const HALF_DAY = 43_200_000; // milliseconds

/**
 * The curve with its legend. `points` are the estimates as in the API, `today` is the learner's day as a string,
 * `answers` are the days with answers, and `time` has the milliseconds of the chart's first and last edge.
 */
export function curve(points, today, answers, time) {
  const x = scale(time);
  const answered = new Map(answers.map((day) => [day.date, day]));
  const at = (date, recall) => `${round(x(date))},${round(100 - 100 * recall)}`;
  return [
    chart(s('svg', { class: 'lines', role: 'img', 'aria-label': t('forgetting.chart'), ...frame },
      s('rect', { class: 'ahead', x: x(today), width: 100 - x(today), y: 0, height: 100 }),
      rules(),
      s('path', { class: 'mature', d: points.map(({ date, before, after }, index) => [
        before != null && `${index ? 'L' : 'M'}${at(date, before)}`,
        before !== after && `${index || before != null ? 'L' : 'M'}${at(date, after)}`,
      ].filter(Boolean).join('')).join('') }),
      points.filter(({ date }) => answered.has(date)).map(({ date, after }) => {
        const { answers: count, correctAnswers } = answered.get(date);
        return s('path', { class: correctAnswers < count ? 'slipped dot' : 'right dot', d: `M${at(date, after)}h0` });
      })), [0, 1], percent, null, ends([[x(points.at(-1).date), points.at(-1).after]], [0, 1], recallShare)),
    legend([
      ['right', t('forgetting.right')], ['slipped', t('forgetting.wrong')], ['ahead', t('forgetting.ahead')]]),
  ];
}

export const curveTable = (points) => unfolded(t('forgetting.title'), table(
  [t('due.date'), t('forgetting.before'), t('forgetting.after')],
  points.toReversed().map(({ date, before, after }) => [fullDay(date), recallShare(before), recallShare(after)])));

/** A function that maps a day, which stands at noon, to its horizontal position from 0 to 100. */
const scale = ({ from, to }) => (date) => (100 * (instant(date) + HALF_DAY - from)) / (to - from);

/**
 * The axis: the first day, the day that the page shows, and the last one. If the first two are close, the middle of the
 * others is named instead of the first; if the last two are close, the middle of the first ones instead of the last.
 */
export function days(first, today, last, time) {
  const at = scale(time);
  const middle = (from, to) => dayOf((instant(from) + instant(to)) / 2);
  const shown = at(today) - at(first) < 20 ? [today, middle(today, last), last]
    : at(last) - at(today) < 20 ? [first, middle(first, today), today] : [first, today, last];
  return axis(shown.map((day) =>
    [at(day) - 0.5, day === today && !pastDay() ? t('items.now') : shortDay(day)]), 100);
}
