// The card "Sessions": what the learner did in the last sittings. It is loaded when seen.

import { h } from './dom.js';
import { ago, now, number, percent, shortDay } from './format.js';
import { join, t } from './i18n.js';
import { sessionPage } from './items.js';
import { table } from './layout.js';
import { learnDays } from './local_days.js';
import { ask } from './past_day.js';

const HOUR_MS = 3_600_000;
const QUERY = `query Sessions($user: ID) {
  sessions(userId: $user, first: 5) { edges { node { id startedAt answers accuracyRate itemsMissed } } }
}`;

/** Load the last sessions; return the function that draws them, and nothing where there are none. */
export async function load(user, signal) {
  const { edges } = (await ask(QUERY, { user }, signal)).data.sessions;
  if (!edges.length) return () => null;
  const dayOf = await learnDays(user, edges.map(({ node }) => node.startedAt), signal);
  const hours = (at) => (now() - Date.parse(at)) / HOUR_MS;
  const when = (at) => join(shortDay(dayOf(at)), hours(at) >= 1 && hours(at) < 24 && ago(at));
  return () => table(
    [t('sessions.when'), t('week.answers'), t('week.right'), t('sessions.missed')],
    edges.map(({ node }) => [
      h('a', { href: sessionPage(node.id, user) }, when(node.startedAt)),
      number(node.answers), percent(node.accuracyRate), number(node.itemsMissed),
    ]));
}
