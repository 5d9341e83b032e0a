// The learners with a text in their names or ids, to choose one from.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { note } from './layout.js';
import { View } from './problems.js';

const FOUND = 20;
const QUERY = `query FindLearners($text: String!, $first: Int!) {
  found: searchLearners(text: $text, first: $first) { userId displayName }
}`;

export class Find extends View {
  constructor(element, text, shell) {
    super(element, shell, { text });
    this.load();
  }

  async load() {
    try {
      const { data } = await runQuery(QUERY, { text: this.text, first: FOUND }, this.closing.signal);
      this.data = data;
      this.succeed();
    } catch (problem) {
      this.fail(problem);
    }
  }

  sections() {
    const { found } = this.data;
    return [
      h('h1', { 'data-key': 'title' }, t('find.title', { text: this.text })),
      h('section', { class: 'card wide', 'aria-label': t('find.title', { text: this.text }), 'data-key': 'found' },
        !found.length && note(t('welcome.unknown')),
        found.length === FOUND && note(t('find.more', { count: FOUND })),
        h('ul', { class: 'found' }, found.map(({ userId, displayName }) => h('li', { 'data-key': userId },
          h('a', { href: `#/learner/${encodeURIComponent(userId)}`, translate: 'no' }, displayName ?? userId),
          displayName && h('span', { class: 'of', translate: 'no' }, userId))))),
    ];
  }
}
