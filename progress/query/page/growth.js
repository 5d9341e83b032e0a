// The items that the learner has learned and ever mastered since the first answer, and all days of study.

import { axis, legend, lines, dateLabels, roundUp } from './charts.js';
import { dayAfter, instant, longDay, number } from './format.js';
import { masteredNow } from './freshness.js';
import { t } from './i18n.js';
import { note, table, unfolded } from './layout.js';
import { ask } from './then.js';

const POINTS = 60;
const MAX_YEARS = 30;
const BEFORE = `query Before($user: ID, $from: Date!, $to: Date!) {
  days: dailyStats(userId: $user, from: $from, to: $to) {
    date answers correctAnswers averageResponseMs studySeconds sessionsCompleted itemsLearned newMasteryCount
  }
  retention(userId: $user, from: $from, to: $to) {
    start young { asked recalled } mature { asked recalled }
  }
}`;

/**
 * Load the days and the retention of all years before `year`, two years in a request, until the days contain all learned
 * items, all sessions and all mastered items of the learner's progress.
 */
export async function loadBefore(user, { days, progress }, year, signal) {
  const found = { days: [], retention: [] };
  const left = {
    itemsLearned: progress.totalItemsLearned, sessionsCompleted: progress.totalSessionsCompleted,
    newMasteryCount: masteredNow(progress.masteryStats),
  };
  const count = (rows) => {
    for (const row of rows) for (const name in left) left[name] -= row[name];
  };
  // Of the shown year, the days may be there already, but not the retention.
  count([...days.values()].filter(({ date }) => date >= `${year}`));
  for (let to = year - 1; to > year - MAX_YEARS && Object.values(left).some((some) => some > 0); to -= 2) {
    const { data } = await ask(BEFORE, { user, from: `${to - 1}-01-01`, to: `${to}-12-31` }, signal);
    count(data.days);
    found.days.push(...data.days);
    found.retention.unshift(...data.retention);
  }
  return found;
}

/**
 * The chart: two lines of sums over all days until each point, from `since` on, or from the first day of study. An item
 * that was ever mastered is mastered now, or it slipped back.
 */
export function growth({ days, day, progress }, since) {
  const studied = [...days.values()].filter((row) => row.date <= day).sort((a, b) => (a.date < b.date ? -1 : 1));
  if (!studied.length) return null;
  const from = since && since > studied[0].date ? since : studied[0].date;
  const ends = pointsOf(from, day);
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
  const now = masteredNow(progress.masteryStats);
  return [
    note(t('growth.summary', { count: learned, mastered, now, slipped: mastered - now, day: longDay(studied[0].date) })),
    lines(series, [0, top], t('growth.chart'), number, axis(dateLabels(ends), ends.length)),
    legend([['young', t('growth.learned')], ['mature', t('growth.mastered')]]),
    unfolded(t('growth.table'), t('growth.title'), table(
      [t('due.date'), t('growth.learned'), t('growth.mastered')],
      ends.map((end, index) => [longDay(end), ...series.map(({ values }) => number(values[index]))]).toReversed())),
  ];
}

/** At most POINTS + 1 days at equal distances, of which the last is `day`; on the first day, it alone. */
export function pointsOf(from, day) {
  const steps = (instant(day) - instant(from)) / 86_400_000;
  const count = Math.min(POINTS, steps);
  return Array.from({ length: count + 1 }, (_, index) => dayAfter(from, Math.round((index * steps) / (count || 1))));
}
