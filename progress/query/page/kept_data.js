// What is kept about a learner, and what the learner's own device has sent.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { View } from './problems.js';

const QUERY = 'query OwnPosts($user: ID) { ownPosts(userId: $user) { recently conflicts } }';
const FACTS = ['events', 'settings', 'masked', 'readers', 'end'];

export class Kept extends View {
  constructor(element, user, shell) {
    super(element, shell, { user });
    this.load();
  }

  async read(signal) {
    return (await runQuery(QUERY, { user: this.user }, signal)).data.ownPosts;
  }

  sections() {
    const { recently, conflicts } = this.data;
    return [
      h('h1', { 'data-key': 'title' }, t('data.kept')),
      h('section', { class: 'card wide', 'aria-label': t('data.kept'), 'data-key': 'kept' },
        h('ul', { class: 'facts' }, [
          ...FACTS.map((name) => t(`kept.${name}`)),
          this.user && recently && t('kept.device'), conflicts > 0 && t('kept.conflicts', { count: conflicts }),
        ].map((text) => text && h('li', null, text)))),
    ];
  }
}
