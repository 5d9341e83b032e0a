// The groups that a teacher's token names, one line each.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { number, percent } from './format.js';
import { t } from './i18n.js';
import { note, table } from './layout.js';
import { learnName } from './names.js';
import { View } from './problems.js';
import * as session from './signed_in.js';
import { findAlike, linkTo } from './member_links.js';

const PER_REQUEST = 9; // more groups would be too many rows for one request
const FIELDS = 'groupId name members activeLast7Days answersLast7Days accuracyLast7Days';

export class Groups extends View {
  constructor(element, shell) {
    super(element, shell);
    this.load();
  }

  /** The groups of the token; one without members has its id only. */
  async read(signal) {
    const groups = [];
    const ids = session.groups();
    for (let from = 0; from < ids.length; from += PER_REQUEST) {
      const asked = ids.slice(from, from + PER_REQUEST);
      const parameters = asked.map((_, index) => `$g${index}: ID!`).join(', ');
      const fields = asked.map((_, index) => `g${index}: group(groupId: $g${index}) { ${FIELDS} }`).join(' ');
      const variables = Object.fromEntries(asked.map((group, index) => [`g${index}`, group]));
      const { data } = await runQuery(`query Groups(${parameters}) { ${fields} }`, variables, signal);
      groups.push(...asked.map((groupId, index) => data[`g${index}`] ?? { groupId, members: 0 }));
    }
    for (const { groupId, name } of groups) learnName('group', groupId, name);
    return { groups };
  }

  sections() {
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('h1', null, t('view.group'))),
      h('section', { class: 'card wide', 'data-key': 'groups' }, this.list()),
    ];
  }

  list() {
    const { groups } = this.data;
    const alike = findAlike(groups.map(({ name }) => name));
    if (!groups.length) return note(t('group.noGroups'));
    return table(
      [t('group.group'), t('group.members'), t('group.active'), t('group.answers'), t('week.right')],
      groups.map(({ groupId, name, members, activeLast7Days, answersLast7Days, accuracyLast7Days }) => [
        linkTo(`#/group/${encodeURIComponent(groupId)}`, groupId, name, alike),
        ...[members, activeLast7Days, answersLast7Days].map(number), percent(accuracyLast7Days),
      ]), 'stacking');
  }
}
