// Items as text: the headword in its own language, the level, and links to an item's page.

import { h } from './dom.js';

/** The headword, else the item's id. */
export function word({ headword, itemId, language }) {
  if (!headword) return h('span', { class: 'id', translate: 'no' }, itemId);
  return h('span', { class: 'word', lang: language ?? languageOf(headword), translate: 'no' }, headword);
}

/** The language of a word if its script determines it; else unknown, which is "". */
function languageOf(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return 'ja';
  return /\p{Script=Hangul}/u.test(text) ? 'ko' : '';
}

export const level = (item) => item.level !== 'UNKNOWN' && [' ', h('span', { class: 'tag' }, item.level)];

/** The address of an item's page. `user` is null for the caller's own. */
export const itemPage = (itemId, user) => path('item', itemId, user);

/** The address of the list of items, with search parameters. */
export function itemList(user, parameters) {
  const query = new URLSearchParams(parameters).toString();
  return path('items', user) + (query && `?${query}`);
}

const path = (...parts) => `#/${parts.filter(Boolean).map(encodeURIComponent).join('/')}`;
