// The school: all classes with members, the quiet ones first, who teaches them, and how many learned this term.

import { runQuery } from './api.js';
import { saveCsv } from './csv.js';
import { h } from './dom.js';
import { dayOf, localDate, longDay, now, number, percent } from './format.js';
import { join, t } from './i18n.js';
import { button, note, table } from './layout.js';
import { learnName } from './names.js';
import { View } from './problems.js';
import { findAlike, learnNames, linkTo, named } from './member_links.js';

const PAGE_SIZE = 50; // more groups with their teachers would be too many rows for one request
const MAX_PAGES = 60; // of one list: the API's limit of requests a minute is higher
const TYPING_MS = 200;
const DAY_MS = 86_400_000;
const QUERY = `query School($text: String, $first: Int!, $after: String) {
  groups(text: $text, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    edges { node { groupId name members activeLast7Days answersLast7Days accuracyLast7Days teachers } }
  }
}`;
const TERM = `query Term($group: ID!, $since: Date!, $after: String) {
  learners(groupId: $group, first: 200, after: $after) {
    pageInfo { hasNextPage endCursor } edges { node { userId since(date: $since) { studyDays } } }
  }
}`;

const shareOf = ({ members, activeLast7Days }) => activeLast7Days / members;

export class School extends View {
  keeps = ['data', 'since', 'learned'];

  constructor(element, shell) {
    super(element, shell, { text: '', since: null, learned: new Map() });
    this.on('submit', (event) => {
      event.preventDefault();
      if (event.target.dataset.key !== 'term') return;
      Object.assign(this, { since: event.target.elements.since.value, learned: new Map() });
      this.use(() => this.count());
    });
    this.on('input', ({ target: { name, value } }) => {
      if (name !== 'group') return;
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.search(value.trim()), TYPING_MS);
    });
    this.on('click', ({ target }) => target.closest('[data-csv]') && this.save());
    this.load();
  }

  keep(hash) {
    if (!this.text) super.keep(hash); // the address has no search
  }

  close() {
    super.close();
    clearTimeout(this.typing);
  }

  async search(text) {
    this.text = text;
    await this.load();
    if (this.text !== text || !this.data) return;
    this.shell.announce(this.data.count ? t('group.found', { count: this.data.count }) : t('group.notFound'));
  }

  /** Load all groups, and show how many are read; only then the quiet ones are first. Abort an older request. */
  async load() {
    const rows = [];
    return this.attempt(async (signal) => {
      for (let page = 0, after = null; page < MAX_PAGES; page += 1) {
        const { data: { groups } } = await runQuery(
          QUERY, { text: this.text || null, first: PAGE_SIZE, after }, signal);
        rows.push(...groups.edges.map(({ node }) => node));
        after = groups.pageInfo.endCursor;
        this.data = { count: groups.totalCount, read: rows.length, groups: [] };
        if (!groups.pageInfo.hasNextPage) break;
        this.draw();
      }
      for (const { groupId, name } of rows) learnName('group', groupId, name);
      this.data.groups = rows.toSorted((one, other) => shareOf(one) - shareOf(other) || other.members - one.members);
      this.succeed();
      await learnNames(rows.flatMap(({ teachers }) => teachers), signal);
      this.draw();
      if (this.since) await this.count();
    });
  }

  /** Count the members with a study day since the first day of the term, in one group after the other. */
  async count() {
    const { since, learned, data: { groups } } = this;
    for (const { groupId: group } of groups.filter(({ groupId }) => !learned.has(groupId))) {
      const users = [];
      let after = null;
      do {
        const { data: { learners } } = await runQuery(TERM, { group, since, after }, this.closing.signal);
        users.push(...learners.edges.filter(({ node }) => node.since.studyDays).map(({ node }) => node.userId));
        after = learners.pageInfo.hasNextPage ? learners.pageInfo.endCursor : null;
      } while (after);
      if (this.learned !== learned || this.data.groups !== groups) return; // another day or other groups were chosen
      learned.set(group, users);
      this.draw();
    }
    this.shell.announce(this.total());
  }

  /** How many learners learned since the day, each counted once. */
  total() {
    return t('school.learned', { count: new Set(this.counted().flat()).size, day: longDay(this.since) });
  }

  counted() {
    return this.data.groups.map(({ groupId }) => this.learned.get(groupId)).filter(Boolean);
  }

  save() {
    const rows = this.data.groups.map((row) => [
      [t('group.group'), row.name ?? row.groupId], [t('group.idOf'), row.groupId], [t('group.members'), row.members],
      [t('group.active'), row.activeLast7Days], [t('group.answers'), row.answersLast7Days],
      [t('week.right'), row.accuracyLast7Days == null ? null : percent(row.accuracyLast7Days)],
      [t('school.teachers'), join(row.teachers.map(named))],
      ...(this.since ? [[this.learnedSince(), this.learned.get(row.groupId)?.length]] : []),
    ]);
    const name = [t('school.title'), this.since && this.learnedSince(), localDate(now())].filter(Boolean).join(' - ');
    saveCsv(name, rows[0].map(([column]) => column), rows.map(Object.fromEntries));
  }

  learnedSince() {
    return t('school.learnedSince', { day: longDay(this.since) });
  }

  sections() {
    const { groups, count, read } = this.data;
    const done = this.counted().length;
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('h1', null, t('school.title')), finder()),
      h('section', { class: 'card wide', 'aria-label': t('view.group'), 'data-key': 'groups' },
        !count ? note(t(this.text ? 'group.notFound' : 'group.none')) : [
          h('div', { class: 'head' },
            h('div', null,
              note(t('group.found', { count })), note(t('school.order')),
              read < count && note(t('school.read', { read, count }))),
            term()),
          this.since && groups.length > 0 && h('p', { class: 'learned' },
            done < groups.length ? t('school.counting', { done, count: groups.length }) : this.total()),
          this.table(groups),
          groups.length > 0 && (!this.since || done === groups.length)
            && h('div', { class: 'tools' }, button('csv', 'csv', t('group.save'))),
        ]),
    ];
  }

  table(groups) {
    const alike = findAlike(groups.map(({ name }) => name));
    const headers = [
      t('group.group'), t('group.members'), t('group.active'), t('group.answers'), t('week.right'),
      t('school.teachers'),
    ];
    return table([...headers, this.since && this.learnedSince()].filter(Boolean), groups.map((row) => [
      linkTo(`#/group/${encodeURIComponent(row.groupId)}`, row.groupId, row.name, alike),
      number(row.members), number(row.activeLast7Days), number(row.answersLast7Days), percent(row.accuracyLast7Days),
      row.teachers.length ? h('span', { translate: 'no' }, join(row.teachers.map(named))) : t('school.nobody'),
      ...(this.since ? [number(this.learned.get(row.groupId)?.length)] : []),
    ]), 'stacking');
  }
}

const finder = () => h('label', { class: 'control' }, h('span', null, t('group.id')),
  h('input', { type: 'search', name: 'group', maxlength: 200, autocomplete: 'off' }));

const term = () => h('form', { class: 'finder', 'data-key': 'term' },
  h('label', { for: 'term' }, t('school.term')),
  h('input', {
    id: 'term', type: 'date', name: 'since', required: true, min: dayOf(now() - 365 * DAY_MS),
    max: dayOf(now() - DAY_MS / 2),
  }),
  h('button', { class: 'button quiet' }, t('school.count')));
