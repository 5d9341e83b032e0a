// Who of a group has answered an item, and who missed it: the lowest estimated recall first.

import { askEach, runQuery } from './api.js';
import { h } from './dom.js';
import { ago, number, percent, recallShare } from './format.js';
import { t } from './i18n.js';
import { level, word } from './items.js';
import { button, note, panel, table } from './layout.js';
import { learnName } from './names.js';
import { View } from './problems.js';
import { withParameter } from './past_day.js';
import { addressOf, findAlike, groupName, learnLearners, leave, linkTo } from './member_links.js';

const MEMBERS = `query Members($group: ID!, $after: String) {
  group(groupId: $group) { name }
  learners(groupId: $group, orderBy: STREAK, first: 200, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { userId displayName } }
  }
}`;
const FIELDS = 'headword level language answers correctAnswers accuracyRate lapses lastAnsweredAt estimatedRecall';

export class GroupItem extends View {
  constructor(element, group, item, shell) {
    super(element, shell, { group, item, hash: location.hash, from: addressOf(group) });
    this.on('click', ({ target }) => target.closest('[data-more]') && this.load());
    this.naming = this.load();
    this.keepTime();
  }

  close() {
    super.close();
    const { hash, from, group, item } = this;
    if (this.data) leave({ hash, from, group, item, users: this.sorted().map(({ userId }) => userId) });
  }

  sorted() {
    return this.data.rows.toSorted((one, other) => one.estimatedRecall - other.estimatedRecall);
  }

  /** Load the next 200 members, and what each of them knows of the item. Abort an older request. */
  async load() {
    return this.attempt(async (signal) => {
      const { data } = await runQuery(MEMBERS, { group: this.group, after: this.data?.after ?? null }, signal);
      const { edges, pageInfo } = data.learners;
      const members = edges.map((edge) => edge.node);
      const field = (user) => `item(${user}, itemId: ${JSON.stringify(this.item)}) { ${FIELDS} }`;
      const known = await askEach(members.map(({ userId }) => userId), field, signal);
      if (signal.aborted) return;
      const found = members.map((member, at) => ({ ...known[at], ...member }));
      const rows = [...(this.data?.rows ?? []), ...found.filter((row) => row.answers)];
      const item = this.data?.item ?? found.find((row) => row.headword);
      this.data = { rows, item, after: pageInfo.hasNextPage ? pageInfo.endCursor : null };
      learnName('group', this.group, data.group?.name);
      learnName('item', this.item, item?.headword);
      learnLearners(rows);
      this.shell.named();
      this.succeed();
    });
  }

  sections() {
    const { rows, after } = this.data;
    const item = { itemId: this.item, ...(this.data.item ?? rows[0]) };
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('div', null,
        h('a', { class: 'back', href: this.from }, groupName(this.group)),
        h('h1', { class: 'item-head' }, word(item), ' ', item.level && level(item)))),
      panel('who', t('group.who', { count: rows.length }), 'wide',
        note(t(rows.length ? 'group.whoMeaning' : 'group.nobody')),
        rows.length > 0 && table(
          [t('group.learner'), t('week.right'), t('items.lapses'), t('items.recall'), t('item.last')],
          this.sorted().map((row) => this.row(row)), 'stacking'),
        after && h('div', { class: 'tools' }, button('more', 'more', t('items.more')))),
    ];
  }

  row({ userId, displayName, answers, correctAnswers, accuracyRate, lapses, lastAnsweredAt, estimatedRecall }) {
    const href = withParameter(`#/item/${[this.item, userId].map(encodeURIComponent).join('/')}`, 'group', this.group);
    return [
      linkTo(href, userId, displayName, findAlike(this.data.rows.map((other) => other.displayName))),
      [h('b', null, percent(accuracyRate)),
        h('span', { class: 'of' }, t('items.ofAnswers', { right: correctAnswers, count: answers }))],
      number(lapses), recallShare(estimatedRecall), ago(lastAnsweredAt),
    ];
  }
}
