// The groups that a teacher's token names, one line each. Support and administrators open a group by its id.

import { runQuery } from './api.js';
import { h, show } from './dom.js';
import { number, percent } from './format.js';
import { t } from './i18n.js';
import { note, table } from './layout.js';
import { View, problemCard } from './problems.js';
import * as session from './session.js';

const PER_REQUEST = 9; // more groups would be too many rows for one request
const FIELDS = 'members activeLast7Days answersLast7Days accuracyLast7Days';

const address = (group) => `#/group/${encodeURIComponent(group)}`;

export class Groups extends View {
  constructor(element, shell) {
    super(element, shell, { groups: session.role() === 'teacher' ? session.groups() : [] });
    this.on('submit', (event) => {
      event.preventDefault();
      const group = new FormData(event.target).get('group').trim();
      if (group) location.hash = address(group);
    });
    this.load();
  }

  async load() {
    const rows = [];
    try {
      for (let from = 0; from < this.groups.length; from += PER_REQUEST) {
        rows.push(...await this.read(this.groups.slice(from, from + PER_REQUEST)));
      }
      this.data = rows;
      this.succeed();
    } catch (problem) {
      if (!this.closing.signal.aborted) this.fail(problem);
    }
  }

  /** The standings of these groups; null for a group without members. */
  async read(groups) {
    const parameters = groups.map((_, index) => `$g${index}: ID!`).join(', ');
    const fields = groups.map((_, index) => `g${index}: group(groupId: $g${index}) { ${FIELDS} }`).join(' ');
    const variables = Object.fromEntries(groups.map((group, index) => [`g${index}`, group]));
    const { data } = await runQuery(`query Groups(${parameters}) { ${fields} }`, variables, this.closing.signal);
    return groups.map((_, index) => data[`g${index}`]);
  }

  draw() {
    const problem = this.problem && problemCard(this.problem, this.retry, Boolean(this.data));
    this.element.setAttribute('aria-busy', String(!this.data && !this.problem));
    show(this.element,
      h('header', { class: 'head', 'data-key': 'head' }, h('h1', null, t('group.groups'))),
      this.data && h('section', { class: 'card wide', 'data-key': 'groups' }, this.list()),
      problem);
  }

  list() {
    if (session.role() !== 'teacher') {
      return h('form', { class: 'finder' },
        h('label', { class: 'unseen', for: 'group-id' }, t('group.id')),
        h('input', { id: 'group-id', name: 'group', placeholder: t('group.id'), maxlength: 200, autocomplete: 'off' }),
        h('button', { class: 'button quiet' }, t('frame.show')));
    }
    if (!this.groups.length) return note(t('group.noGroups'));
    return table(
      [t('group.group'), t('group.members'), t('group.active'), t('group.answers'), t('items.right')],
      this.groups.map((group, index) => {
        const { members, activeLast7Days, answersLast7Days, accuracyLast7Days } = this.data[index] ?? { members: 0 };
        return [
          h('a', { href: address(group), translate: 'no' }, group),
          ...[members, activeLast7Days, answersLast7Days].map(number), percent(accuracyLast7Days),
        ];
      }), 'stacking');
  }
}
