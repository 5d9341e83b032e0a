// The forgetting curve of an item: the estimated recall falls between the answers, and each answer changes it.

import { axis, legend, plot } from './charts.js';
import { h, s } from './dom.js';
import { fullDay, instant, longDay, percent, recallShare, shortDay } from './format.js';
import { t } from './i18n.js';
import { card, note, table, unfolded } from './layout.js';
import { pastDay } from './then.js';

/**
 * The card. `points` are the estimates as in the API, `today` is the learner's day as a string, and `answers` are the
 * days with answers. The last point is in the future.
 */
export function forgetting(points, today, answers) {
  if (!points.length) return null;
  const last = points.at(-1);
  const answered = new Map(answers.map((day) => [day.date, day]));
  return card('forgetting', t('forgetting.title'), 'wide',
    note(t('forgetting.meaning', { day: longDay(last.date), share: recallShare(last.after) })),
    h('div', { class: 'chart beside' },
      plot(curve(points, today, answered), percent(1), percent(0)),
      axis(labels(points[0].date, today, last.date), 100)),
    legend([
      ['right', t('forgetting.right')], ['slipped', t('forgetting.wrong')], ['ahead', t('forgetting.ahead')]]),
    unfolded(t('forgetting.table'), t('forgetting.title'), table(
      [t('due.date'), t('forgetting.before'), t('forgetting.after')],
      points.toReversed().map(({ date, before, after }) => [fullDay(date), recallShare(before), recallShare(after)]))));
}

function curve(points, today, answered) {
  const x = scale(points[0].date, points.at(-1).date);
  const at = (date, recall) => `${round(x(date))},${round(97 - 94 * recall)}`;
  const frame = { viewBox: '0 0 100 100', preserveAspectRatio: 'none' };
  return s('svg', { class: 'lines', role: 'img', 'aria-label': t('forgetting.chart'), ...frame },
    s('rect', { class: 'ahead', x: x(today), width: 100 - x(today), y: 0, height: 100 }),
    [3, 50, 97].map((y) => s('line', { class: 'rule', x1: 0, x2: 100, y1: y, y2: y })),
    s('path', { class: 'mature', d: points.map(({ date, before, after }, index) => [
      before != null && `${index ? 'L' : 'M'}${at(date, before)}`,
      before !== after && `${index || before != null ? 'L' : 'M'}${at(date, after)}`,
    ].filter(Boolean).join('')).join('') }),
    points.filter(({ date }) => answered.has(date)).map(({ date, after }) => {
      const { answers, correctAnswers } = answered.get(date);
      return s('path', { class: correctAnswers < answers ? 'slipped dot' : 'right dot', d: `M${at(date, after)}h0` });
    }));
}

/** A function that maps a day to its horizontal position from 0 to 100. */
function scale(from, to) {
  const span = instant(to) - instant(from) || 1;
  return (date) => (100 * (instant(date) - instant(from))) / span;
}

const round = (value) => Math.round(100 * value) / 100;

/** Labels for the first day and for the day that the page shows; only for the latter if both are close. */
function labels(from, today, to) {
  const now = scale(from, to)(today);
  return [now > 30 && [0, shortDay(from)], [now, pastDay() ? shortDay(today) : t('forgetting.today')]].filter(Boolean);
}
