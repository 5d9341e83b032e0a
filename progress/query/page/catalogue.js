// The headwords of the catalogue, and where a text has them.

import { Problem, problemOf } from './api.js';
import { arriving } from './loads.js';
import { token } from './signed_in.js';

const TIMEOUT_MS = 12_000;
const QUERY = `query Catalogue($language: String, $after: String) {
  catalogue(language: $language, first: 1000, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { itemId headword } }
  }
}`;

/** The catalogue of a language, of which nothing is read yet; null for all languages. */
export const open = (language) => ({ language, after: null, isRead: false, ids: new Map(), longest: 0 });

/** Read the rest of a catalogue. After a problem, another call goes on. */
export async function read(catalogue, signal) {
  while (!catalogue.isRead) {
    const { language, after } = catalogue;
    const { edges, pageInfo } = await arriving(readPage({ language, after }, signal));
    signal.throwIfAborted();
    for (const { node } of edges) add(catalogue, node);
    Object.assign(catalogue, { after: pageInfo.endCursor, isRead: !pageInfo.hasNextPage });
  }
}

/** By GET, so that the browser keeps the answer with its ETag, and only asks whether it has changed. */
async function readPage(variables, signal) {
  const parameters = new URLSearchParams({ query: QUERY, variables: JSON.stringify(variables) });
  const response = await fetch(new URL(`graphql?${parameters}`, document.baseURI), {
    headers: { Accept: 'application/json', Authorization: `Bearer ${token()}` },
    credentials: 'omit',
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  }).catch((error) => {
    throw signal.aborted ? error : new Problem(navigator.onLine ? 'away' : 'offline', error.message);
  });
  const answer = await response.json().catch(() => null);
  const problem = problemOf(response, answer);
  if (problem) throw problem;
  return answer.data.catalogue;
}

/** Several items may have the same headword: they are all found. */
export function add(catalogue, { itemId, headword }) {
  const word = comparable(headword ?? '').trim();
  if (!word) return;
  catalogue.ids.set(word, [...catalogue.ids.get(word) ?? [], itemId]);
  catalogue.longest = Math.max(catalogue.longest, word.length);
}

const comparable = (text) => text.normalize('NFC').toLowerCase().replace(/\s+/g, ' ');

/**
 * Find the headwords in a text, the longest first: one begins and ends with a word as the browser separates words, also
 * in languages without blanks. Return how often each item occurs, the number of found headwords and of other words, and
 * these without repetitions.
 */
export function find({ ids, longest }, text) {
  const words = [...new Intl.Segmenter('en', { granularity: 'word' }).segment(comparable(text))];
  const [counts, others] = [new Map(), new Set()];
  let [found, missing] = [0, 0];
  for (let at = 0; at < words.length; at += 1) {
    const match = findLongest(words, at, ids, longest);
    if (match) {
      for (const id of ids.get(match.word)) counts.set(id, (counts.get(id) ?? 0) + 1);
      found += 1;
      at = match.last;
    } else if (/\p{L}/u.test(words[at].segment)) {
      others.add(words[at].segment);
      missing += 1;
    }
  }
  return { counts, found, missing, others };
}

function findLongest(words, first, ids, longest) {
  let [match, word] = [null, ''];
  for (let last = first; last < words.length && word.length < longest; last += 1) {
    word += words[last].segment;
    if (ids.has(word)) match = { word, last };
  }
  return match;
}
