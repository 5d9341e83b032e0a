// What an account has read: whose records, in which role and hour, newest first. For administrators.

import { runQuery } from './api.js';
import { saveCsv } from './csv.js';
import { h } from './dom.js';
import { clock, localDate, localDay, now } from './format.js';
import { t } from './i18n.js';
import { button, note, panel, table } from './layout.js';
import { View } from './problems.js';

const QUERY = `query Account($account: ID!, $after: String) {
  accesses(readBy: $account, first: 200, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { userId role hour } }
  }
}`;

export class Account extends View {
  constructor(element, account, shell) {
    super(element, shell, { account });
    this.on('click', ({ target }) => {
      if (target.closest('[data-accesses]')) this.load();
      if (target.closest('[data-csv]')) this.save();
    });
    this.load();
  }

  /** Read the next page after those that are shown. */
  async read(signal) {
    const { rows = [], pageInfo } = this.data ?? {};
    const variables = { account: this.account, after: pageInfo?.endCursor };
    const { data: { accesses } } = await runQuery(QUERY, variables, signal);
    return { rows: [...rows, ...accesses.edges.map(({ node }) => node)], pageInfo: accesses.pageInfo };
  }

  sections() {
    const { rows, pageInfo } = this.data;
    return [
      h('header', { class: 'head', 'data-key': 'head' },
        h('h1', null, t('view.account', { account: this.account }))),
      panel('accesses', t('account.records', { count: rows.length }), 'wide',
        note(t(rows.length ? 'account.meaning' : 'account.none')),
        rows.length > 0 && [
          h('div', { class: 'tools' }, button('csv', 'csv', t('group.save'))),
          table([t('group.learner'), t('account.role'), t('account.hour')], rows.map(({ userId, role, hour }) => [
            h('a', { href: `#/learner/${encodeURIComponent(userId)}`, translate: 'no' }, userId),
            t(`account.roles.${role}`), `${localDay(hour)}, ${clock(hour)}`,
          ]), 'stacking'),
          pageInfo.hasNextPage && h('div', { class: 'tools' }, button('accesses', 'more', t('items.more'))),
        ]),
    ];
  }

  /** Save the rows that are shown. The hour is in UTC, as in the learners' exports. */
  save() {
    const columns = ['user_id', 'role', 'hour'];
    const rows = this.data.rows.map(({ userId, role, hour }) => ({ user_id: userId, role, hour }));
    saveCsv([this.account, localDate(now())].join(' - '), columns, rows);
  }
}
