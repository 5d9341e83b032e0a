// The days on which a learner met the goal, for the grid of the year. The module is loaded when the grid comes in
// sight.

import { runQuery } from './api.js';

const QUERY = `query MetDays($user: ID, $after: String) {
  milestones(userId: $user, kinds: [GOAL_MET], first: 200, after: $after) {
    edges { node { reachedOn } } pageInfo { hasNextPage endCursor }
  }
}`;

/** Return the days since `from`, and possibly earlier ones, as a set. */
export async function metDays(user, from, signal) {
  const met = new Set();
  let after = null;
  do {
    const { edges, pageInfo } = (await runQuery(QUERY, { user, after }, signal)).data.milestones;
    for (const { node } of edges) met.add(node.reachedOn);
    after = pageInfo.hasNextPage && edges.at(-1).node.reachedOn >= from ? pageInfo.endCursor : null;
  } while (after);
  return met;
}
