// The days before the range of the page's query. They are loaded for the charts of all time.

import { masteredNow } from './freshness.js';
import { ask } from './past_day.js';

const MAX_YEARS = 30;
const BEFORE = `query Before($user: ID, $from: Date!, $to: Date!) {
  days: dailyStats(userId: $user, from: $from, to: $to) {
    date answers correctAnswers averageResponseMs studySeconds sessionsCompleted itemsLearned newMasteryCount
  }
}`;

/**
 * Load the days of all years before `year`, two years in a request, until the days contain all learned words, all
 * sessions and all mastered words of the learner's progress.
 */
export async function loadBefore(user, { days, progress }, year, signal) {
  const found = [];
  const left = {
    itemsLearned: progress.totalItemsLearned, sessionsCompleted: progress.totalSessionsCompleted,
    newMasteryCount: masteredNow(progress.masteryStats),
  };
  const count = (rows) => {
    for (const row of rows) for (const name in left) left[name] -= row[name];
  };
  count([...days.values()].filter(({ date }) => date >= `${year}`));
  for (let to = year - 1; to > year - MAX_YEARS && Object.values(left).some((some) => some > 0); to -= 2) {
    const { data } = await ask(BEFORE, { user, from: `${to - 1}-01-01`, to: `${to}-12-31` }, signal);
    count(data.days);
    found.push(...data.days);
  }
  return found;
}
