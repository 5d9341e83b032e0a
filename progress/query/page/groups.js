// The groups that a teacher's token names or, for support and administrators, all groups with members, one line each.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { number, percent } from './format.js';
import { t } from './i18n.js';
import { note, table } from './layout.js';
import { learnName } from './names.js';
import { View } from './problems.js';
import * as session from './session.js';

const PER_REQUEST = 9; // more groups would be too many rows for one request
const PAGE_SIZE = 50;
const TYPING_MS = 200;
const FIELDS = 'groupId name members activeLast7Days answersLast7Days accuracyLast7Days';
const QUERY = `query AllGroups($text: String, $first: Int!, $after: String) {
  groups(text: $text, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor } edges { node { ${FIELDS} } }
  }
}`;

const address = (group) => `#/group/${encodeURIComponent(group)}`;

export class Groups extends View {
  constructor(element, shell) {
    super(element, shell, { finds: session.role() !== 'teacher', text: '' });
    this.on('submit', (event) => event.preventDefault());
    this.on('input', ({ target }) => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.search(target.value.trim()), TYPING_MS);
    });
    this.on('click', ({ target }) => target.closest('[data-more]') && this.load(true));
    this.load();
  }

  close() {
    super.close();
    clearTimeout(this.typing);
    this.request?.abort();
  }

  /** Find the groups with this text in their names or ids. */
  async search(text) {
    this.text = text;
    await this.load();
    if (this.text !== text || !this.data) return;
    this.shell.announce(this.data.count ? t('group.found', { count: this.data.count }) : t('group.notFound'));
  }

  /** Load the groups or, with `more`, their next page. A newer request aborts an older one. */
  async load(more = false) {
    this.request?.abort();
    const { signal } = (this.request = new AbortController());
    try {
      const data = this.finds ? await this.find(more ? this.data.cursor : null, signal) : await this.readOwn(signal);
      if (signal.aborted) return;
      for (const { groupId, name } of data.groups) learnName('group', groupId, name);
      this.data = more ? { ...data, groups: [...this.data.groups, ...data.groups] } : data;
      this.succeed();
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    }
  }

  async find(after, signal) {
    const { data: { groups } } = await runQuery(QUERY, { text: this.text || null, first: PAGE_SIZE, after }, signal);
    const { totalCount: count, pageInfo: { hasNextPage, endCursor }, edges } = groups;
    return { count, cursor: hasNextPage ? endCursor : null, groups: edges.map(({ node }) => node) };
  }

  /** The groups of the token; one without members has its id only. */
  async readOwn(signal) {
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
    return { groups };
  }

  sections() {
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('h1', null, t('group.groups'))),
      h('section', { class: 'card wide', 'data-key': 'groups' }, this.finds && finder(), this.list()),
    ];
  }

  list() {
    const { groups, count, cursor } = this.data;
    if (!groups.length) return note(t(!this.finds ? 'group.noGroups' : this.text ? 'group.notFound' : 'group.none'));
    return [
      this.finds && note(t('group.found', { count })),
      table(
        [t('group.group'), t('group.members'), t('group.active'), t('group.answers'), t('items.right')],
        groups.map(({ groupId, name, members, activeLast7Days, answersLast7Days, accuracyLast7Days }) => [
          [h('a', { href: address(groupId), translate: 'no' }, name ?? groupId),
            name && h('span', { class: 'of', translate: 'no' }, groupId)],
          ...[members, activeLast7Days, answersLast7Days].map(number), percent(accuracyLast7Days),
        ]), 'stacking'),
      cursor && h('button', { type: 'button', class: 'button quiet', 'data-more': true }, t('items.more')),
    ];
  }
}

const finder = () => h('form', { class: 'finder', role: 'search', 'data-key': 'finder' },
  h('label', { class: 'unseen', for: 'group-id' }, t('group.id')),
  h('input', { id: 'group-id', type: 'search', name: 'group', placeholder: t('group.id'), maxlength: 200, autocomplete: 'off' }));
