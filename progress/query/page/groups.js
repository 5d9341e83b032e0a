// The groups that a teacher's token names, or that support and administrators search for, one line each.

import { runQuery } from './api.js';
import { h, show } from './dom.js';
import { number, percent } from './format.js';
import { t } from './i18n.js';
import { note, table } from './layout.js';
import { learnName } from './names.js';
import { View, problemCard } from './problems.js';
import * as session from './session.js';

const PER_REQUEST = 9; // more groups would be too many rows for one request
const FOUND = 20;
const MIN_SEARCH = 2; // characters
const TYPING_MS = 200;
const FIELDS = 'name members activeLast7Days answersLast7Days accuracyLast7Days';

const address = (group) => `#/group/${encodeURIComponent(group)}`;

export class Groups extends View {
  constructor(element, shell) {
    super(element, shell, { groups: session.groups(), searches: session.role() !== 'teacher', text: '' });
    this.on('submit', (event) => event.preventDefault());
    this.on('input', ({ target }) => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.search(target.value.trim()), TYPING_MS);
    });
    if (this.searches) {
      this.data = [];
      this.groups = [];
      this.succeed();
    } else this.load();
  }

  close() {
    super.close();
    clearTimeout(this.typing);
    this.request?.abort();
  }

  /** Find the groups with this text in their ids. A newer search aborts an older one. */
  async search(text) {
    this.request?.abort();
    this.request = new AbortController();
    this.text = text;
    await this.load(this.request.signal);
    if (this.text === text && text.length >= MIN_SEARCH) {
      this.shell.announce(this.groups.length ? t('group.found', { count: this.groups.length }) : t('group.notFound'));
    }
  }

  async load(signal = this.closing.signal) {
    const rows = [];
    try {
      const groups = this.searches ? await this.find(signal) : this.groups;
      for (let from = 0; from < groups.length; from += PER_REQUEST) {
        rows.push(...await this.read(groups.slice(from, from + PER_REQUEST), signal));
      }
      if (signal.aborted) return;
      groups.forEach((group, index) => learnName('group', group, rows[index]?.name));
      this.groups = groups;
      this.data = rows;
      this.succeed();
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    }
  }

  async find(signal) {
    if (this.text.length < MIN_SEARCH) return [];
    const query = 'query FindGroups($text: String!, $first: Int!) { found: searchGroups(text: $text, first: $first) }';
    const { data } = await runQuery(query, { text: this.text, first: FOUND }, signal);
    return data.found;
  }

  /** The standings of these groups; null for a group without members. */
  async read(groups, signal) {
    const parameters = groups.map((_, index) => `$g${index}: ID!`).join(', ');
    const fields = groups.map((_, index) => `g${index}: group(groupId: $g${index}) { ${FIELDS} }`).join(' ');
    const variables = Object.fromEntries(groups.map((group, index) => [`g${index}`, group]));
    const { data } = await runQuery(`query Groups(${parameters}) { ${fields} }`, variables, signal);
    return groups.map((_, index) => data[`g${index}`]);
  }

  draw() {
    const problem = this.problem && problemCard(this.problem, this.retry, Boolean(this.data));
    this.element.setAttribute('aria-busy', String(!this.data && !this.problem));
    show(this.element,
      h('header', { class: 'head', 'data-key': 'head' }, h('h1', null, t('group.groups'))),
      this.data && h('section', { class: 'card wide', 'data-key': 'groups' }, this.searches && finder(), this.list()),
      problem);
  }

  list() {
    if (!this.groups.length) return note(this.emptyText());
    return table(
      [t('group.group'), t('group.members'), t('group.active'), t('group.answers'), t('items.right')],
      this.groups.map((group, index) => {
        const { name, members, activeLast7Days, answersLast7Days, accuracyLast7Days } = this.data[index] ?? { members: 0 };
        return [
          [h('a', { href: address(group), translate: 'no' }, name ?? group),
            name && h('span', { class: 'of', translate: 'no' }, group)],
          ...[members, activeLast7Days, answersLast7Days].map(number), percent(accuracyLast7Days),
        ];
      }), 'stacking');
  }

  emptyText() {
    if (!this.searches) return t('group.noGroups');
    return t(this.text.length < MIN_SEARCH ? 'group.search' : 'group.notFound');
  }
}

const finder = () => h('form', { class: 'finder', role: 'search', 'data-key': 'finder' },
  h('label', { class: 'unseen', for: 'group-id' }, t('group.id')),
  h('input', { id: 'group-id', type: 'search', name: 'group', placeholder: t('group.id'), maxlength: 200, autocomplete: 'off' }));
