// Days that the page's query does not have: those before its range, and those of the year that met the goal.

import { runQuery } from './api.js';
import { masteredNow } from './freshness.js';
import { ask } from './past_day.js';

const MAX_YEARS = 30;
const BEFORE = `query Before($user: ID, $from: Date!, $to: Date!) {
  days: dailyStats(userId: $user, from: $from, to: $to) {
    date answers correctAnswers averageResponseMs studySeconds sessionsCompleted itemsLearned newMasteryCount
  }
}`;
const MET = `query MetDays($user: ID, $after: String) {
  milestones(userId: $user, kinds: [GOAL_MET], first: 200, after: $after) {
    edges { node { reachedOn } } pageInfo { hasNextPage endCursor }
  }
}`;

/** Load the days before `year`, two years in a request, until they contain all that the progress has counted. */
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

/** Return the days since `from`, and possibly earlier ones, as a set. */
export async function metDays(user, from, signal) {
  const met = new Set();
  let after = null;
  do {
    const { edges, pageInfo } = (await runQuery(MET, { user, after }, signal)).data.milestones;
    for (const { node } of edges) met.add(node.reachedOn);
    after = pageInfo.hasNextPage && edges.at(-1).node.reachedOn >= from ? pageInfo.endCursor : null;
  } while (after);
  return met;
}
