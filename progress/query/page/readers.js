// Who else has read the record, newest hour first: the content of the card "Who read it".

import { runQuery } from './api.js';
import { h } from './dom.js';
import { clock, localDay } from './format.js';
import { parts, t } from './i18n.js';
import { button, note } from './layout.js';
import { learnNames, named } from './member_links.js';

const QUERY = `query Accesses($user: ID, $after: String) {
  accesses(userId: $user, first: 20, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { readBy role hour } }
  }
}`;
const HOUR_MS = 3_600_000;

export class Readers {
  constructor(user) {
    Object.assign(this, { user, rows: [], pageInfo: null });
  }

  async load(signal) {
    const { data } = await runQuery(QUERY, { user: this.user, after: this.pageInfo?.endCursor }, signal);
    const rows = data.accesses.edges.map((edge) => edge.node);
    if (this.user) await learnNames(rows.filter(({ role }) => role !== 'system').map(({ readBy }) => readBy), signal);
    this.pageInfo = data.accesses.pageInfo;
    this.rows.push(...rows);
  }

  content() {
    if (!this.rows.length) return [note(t('readers.none'))];
    return [
      h('ul', { class: 'facts' }, this.rows.map((row) => h('li', null, this.sentence(row)))),
      this.pageInfo.hasNextPage && h('div', { class: 'tools' }, button('readers', 'more', t('items.more'))),
    ];
  }

  sentence({ readBy, role, hour }) {
    const to = new Date(Date.parse(hour) + HOUR_MS);
    const when = t('readers.when', { day: localDay(hour), from: clock(hour), to: clock(to) });
    const name = readBy !== role && h('b', { translate: 'no' }, named(readBy).replace(/^system:/, ''));
    const hasAccount = this.user && role !== 'system'; // then the reader of this list is an administrator
    const reader = hasAccount ? h('a', { href: `#/administration/${encodeURIComponent(readBy)}` }, name) : name;
    return parts(`readers.${this.user ? 'theirs' : 'own'}.${role}`, { reader, when });
  }
}
