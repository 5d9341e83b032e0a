// The headwords of the catalogue, and where a text has them.

import { getQuery } from './api.js';

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
    const { data } = await getQuery(QUERY, { language, after }, signal);
    signal.throwIfAborted();
    const { edges, pageInfo } = data.catalogue;
    for (const { node } of edges) add(catalogue, node);
    Object.assign(catalogue, { after: pageInfo.endCursor, isRead: !pageInfo.hasNextPage });
  }
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
