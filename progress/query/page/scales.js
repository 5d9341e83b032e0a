// Lists with a learner's numbers, of one scale or of several at once.

import { runQuery } from './api.js';
import { masteredNow } from './freshness.js';
import { idOf } from './how_far.js';
import { ask } from './past_day.js';

const MAX_LEVELS = 4; // that the last word may have: those with most known words
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
    const { rows, cursor } = rowsOf((await ask(query, { user, after }, signal)).data.lists);
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
export async function load(user, signal) {
  const { data } = await runQuery('query Names($user: ID) { scales(userId: $user) { name } }', { user }, signal);
  const scales = await loadScales(user, data.scales, signal);
  return scales.map(({ rows, ...scale }) => ({ ...scale, rows: rows.filter(({ rank }) => rank !== null) }))
    .filter(isStudied);
}

/**
 * Find, of the choice of levelsOf(), the level of the word mastered last; the id is null without one. The API lists the
 * words that were newly mastered on a range of days, but does not say when each was. So one request counts those of
 * each level since the last of the `dates`, and since earlier ones, as the words of the last may have other levels. The
 * first of these ranges that has a word decides: of its levels, that with most words, and of equal ones the lower.
 */
export async function findLastLevel(user, { key, rows, dates, day, language }, signal) {
  const least = rows.map(masteredNow).sort((one, other) => other - one)[MAX_LEVELS - 1] ?? 0;
  const asked = rows.filter((row) => masteredNow(row) >= least).slice(0, MAX_LEVELS);
  const places = asked.length > 2 ? [0, Infinity] : [0, 3, 27, Infinity]; // eight fields read as much as is allowed
  const starts = [...new Set(places.map((place) => dates[place] ?? dates.at(-1)))];
  const [name, type] = asked[0].id ? ['list', 'ID'] : ['level', 'CefrLevel'];
  const fields = starts.flatMap((from, start) => asked.map((_, at) =>
    `s${start}l${at}: itemStats(userId: $user, language: $language, filter: NEWLY_MASTERED, ${name}: $l${at},
      from: "${from}", to: "${day}", first: 1) { totalCount }`));
  const query = `query Last($user: ID, $language: String, ${asked.map((_, at) => `$l${at}: ${type}`)}) {
    ${fields.join('\n')} }`;
  const variables = { user, language, ...Object.fromEntries(asked.map((row, at) => [`l${at}`, idOf(row)])) };
  const { data } = await ask(query, variables, signal);
  const counts = starts.map((_, start) => asked.map((_, at) => data[`s${start}l${at}`].totalCount));
  const found = counts.find((each) => each.some(Boolean));
  return { key, id: found ? idOf(asked[found.indexOf(Math.max(...found))]) : null };
}
