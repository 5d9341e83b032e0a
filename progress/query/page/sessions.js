// The card "Sessions": what the learner did in the last sittings. It is loaded when seen.

import { h } from './dom.js';
import { number, percent, timeOf } from './format.js';
import { t } from './i18n.js';
import { sessionPage } from './items.js';
import { note, table } from './layout.js';
import { ask } from './then.js';

const QUERY = `query Sessions($user: ID) {
  sessions(userId: $user, first: 5) { edges { node { id startedAt answers accuracyRate itemsMissed } } }
}`;

/** Load the last sessions; return the function that draws them. */
export async function loadSessions(user, signal) {
  const { edges } = (await ask(QUERY, { user }, signal)).data.sessions;
  if (!edges.length) return () => note(t('sessions.none'));
  return () => table(
    [t('sessions.when'), t('week.answers'), t('week.right'), t('sessions.missed')],
    edges.map(({ node }) => [
      h('a', { href: sessionPage(node.id, user) }, timeOf(node.startedAt)),
      number(node.answers), percent(node.accuracyRate), number(node.itemsMissed),
    ]));
}
