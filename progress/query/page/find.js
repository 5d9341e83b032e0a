// The learners with a text in their names or ids: suggestions while the user types, and a list to choose one from.

import { runQuery } from './api.js';
import { h, show } from './dom.js';
import { t } from './i18n.js';
import { note } from './layout.js';
import { View } from './problems.js';
import { findAlike, learnLearners, linkTo } from './member_links.js';

const FOUND = 20;
const MIN_SEARCH = 2; // characters
const SUGGESTED = 8;
const TYPING_MS = 200;
const QUERY = `query FindLearners($text: String!, $first: Int!) {
  found: searchLearners(text: $text, first: $first) { userId displayName }
}`;

let typing; // the timer of the suggestions

async function find(text, signal) {
  const { data: { found } } = await runQuery(QUERY, { text, first: FOUND }, signal);
  learnLearners(found);
  return found;
}

/** Return the learners whose id or name contains the text, or none if the search fails. */
const findLearners = async (text) => ([...text].length < MIN_SEARCH ? [] : find(text).catch(() => []));

export function suggest(input) {
  const text = input.value.trim();
  clearTimeout(typing);
  if ([...input.list.options].some(({ value }) => value === text)) return; // a suggestion was chosen
  typing = setTimeout(async () => {
    const found = await findLearners(text);
    if (input.value.trim() !== text) return;
    show(input.list, found.slice(0, SUGGESTED)
      .map(({ userId, displayName }) => h('option', { value: userId, label: displayName })));
  }, TYPING_MS);
}

/** The address of the learner with this id or, if there is none, of what is found: one learner, or a list. */
export async function addressOf(text) {
  const found = await findLearners(text);
  const id = found.length === 1 ? found[0].userId : text;
  const hasChoice = found.length > 1 && !found.some(({ userId }) => userId === text);
  return id ? `#/${hasChoice ? 'find' : 'learner'}/${encodeURIComponent(id)}` : '#/';
}

export class Find extends View {
  constructor(element, text, shell) {
    super(element, shell, { text });
    this.load();
  }

  async read(signal) {
    return { found: await find(this.text, signal) };
  }

  sections() {
    const { found } = this.data;
    const alike = findAlike(found.map(({ displayName }) => displayName));
    return [
      h('h1', { 'data-key': 'title' }, t('find.title', { text: this.text })),
      h('section', { class: 'card wide', 'aria-label': t('find.title', { text: this.text }), 'data-key': 'found' },
        !found.length && note(t('welcome.unknown')),
        found.length === FOUND && note(t('find.more', { count: FOUND })),
        h('ul', { class: 'found' }, found.map(({ userId, displayName }) => h('li', { 'data-key': userId },
          linkTo(`#/learner/${encodeURIComponent(userId)}`, userId, displayName, alike))))),
    ];
  }
}
