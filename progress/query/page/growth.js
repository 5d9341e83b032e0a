// The items that the learner has learned and mastered since the first answer, and all days of study.

import { axis, legend, lines, monthLabels, plot, roundUp } from './charts.js';
import { h } from './dom.js';
import { dayAfter, instant, longDay, number, shortDay } from './format.js';
import { t } from './i18n.js';
import { card, note } from './layout.js';
import { ask } from './then.js';

const POINTS = 60;
const MAX_YEARS = 30;
const DAYS = `query Years($user: ID, $from: Date!, $to: Date!) {
  days: dailyStats(userId: $user, from: $from, to: $to) {
    date answers correctAnswers averageResponseMs studySeconds sessionsCompleted itemsLearned newMasteryCount
  }
}`;

/** Load all days before the year `year`, two years in a request, until two years have none. */
export async function loadDays(user, year, signal) {
  const found = [];
  for (let to = year - 1; to > year - MAX_YEARS; to -= 2) {
    const { data } = await ask(DAYS, { user, from: `${to - 1}-01-01`, to: `${to}-12-31` }, signal);
    if (!data.days.length) break;
    found.push(...data.days);
  }
  return found;
}

/** The card: two lines of sums over all days until each point, from `since` on, or from the first day of study. */
export function growth({ days, day }, since) {
  const studied = [...days.values()].filter((row) => row.date <= day).sort((a, b) => (a.date < b.date ? -1 : 1));
  if (!studied.length) return null;
  const from = since && since > studied[0].date ? since : studied[0].date;
  const steps = Math.max(1, (instant(day) - instant(from)) / 86_400_000);
  const size = Math.max(1, steps / POINTS);
  const ends = Array.from({ length: Math.floor(steps / size) + 1 }, (_, index) => dayAfter(from, Math.round(index * size)));
  const sums = (name) => {
    let at = 0;
    let total = 0;
    return ends.map((end) => {
      while (at < studied.length && studied[at].date <= end) total += studied[at++][name];
      return total;
    });
  };
  const series = [{ name: 'young', values: sums('itemsLearned') }, { name: 'mature', values: sums('newMasteryCount') }];
  const top = roundUp(Math.max(...series.flatMap(({ values }) => values)));
  const [learned, mastered] = series.map(({ values }) => values.at(-1));
  return card('growth', t('growth.title'), 'wide',
    note(t('growth.summary', { count: learned, mastered, day: longDay(studied[0].date) })),
    h('div', { class: 'chart' },
      plot(lines(series, [0, top], t('growth.chart')), number(top), number(0)),
      axis(ends.length > 20 ? monthLabels(ends) : [[0, shortDay(ends[0])]], ends.length)),
    legend([['young', t('growth.learned')], ['mature', t('growth.mastered')]]));
}
