// Lists with a learner's numbers, of one scale or of several at once.

import { runQuery } from './api.js';
import { ask } from './past_day.js';

const MAX_SCALES = 5; // of those with most lists; the page shows the ones that are studied

/** The numbers of a list, with the names that those of a level have. */
export const NUMBERS = `id own name scale rank archived items catalogueItems: items itemsStudied progressRate learning
  shortTermMastered longTermMastered masteredLast28Days expectedDate reached due expected`;
export const LISTS = `totalCount pageInfo { hasNextPage endCursor } edges { node { ${NUMBERS} } }`;

/** The rows of a page of a connection, and the cursor of the next one. */
export const rowsOf = ({ edges, pageInfo }) =>
  ({ rows: edges.map((edge) => edge.node), cursor: pageInfo.hasNextPage ? pageInfo.endCursor : null });

const isStudied = ({ rows }) => rows.some(({ itemsStudied }) => itemsStudied > 0);

/** Count the words that a learner has not met of the own lists and those of the groups; null without a list. */
export async function countUnmet(user, signal) {
  const query = `query Unmet($user: ID, $after: String) { lists(userId: $user, first: 50, after: $after) {
    pageInfo { hasNextPage endCursor } edges { node { items itemsStudied } } } }`;
  let unmet = null;
  for (let after = null, isMore = true; isMore;) {
    const { rows, cursor } = rowsOf((await runQuery(query, { user, after }, signal)).data.lists);
    for (const { items, itemsStudied } of rows) unmet += items - itemsStudied;
    [after, isMore] = [cursor, cursor !== null];
  }
  return unmet;
}

/** Load the lists of the scales of which the learner has studied items. */
export async function loadScales(user, scales, signal) {
  const names = scales.slice(0, MAX_SCALES).map(({ name }) => name);
  if (!names.length) return [];
  const fields = names.map((_, at) => `s${at}: lists(userId: $user, scale: $s${at}, first: 50) { ${LISTS} }`);
  const query = `query Scales($user: ID, ${names.map((_, at) => `$s${at}: String`)}) { ${fields.join(' ')} }`;
  const { data } = await ask(query, { user, ...Object.fromEntries(names.map((name, at) => [`s${at}`, name])) }, signal);
  return names.map((name, at) => ({ name, ...rowsOf(data[`s${at}`]) })).filter(isStudied);
}

/** Load the same of the scales that have levels, which are lists with a rank. */
export async function loadLevels(user, signal) {
  const { data } = await runQuery('query Names($user: ID) { scales(userId: $user) { name } }', { user }, signal);
  const scales = await loadScales(user, data.scales, signal);
  return scales.map(({ rows, ...scale }) => ({ ...scale, rows: rows.filter(({ rank }) => rank !== null) }))
    .filter(isStudied);
}
