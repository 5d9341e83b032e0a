// A teacher's view of a group: its activity in the last seven days, its learners (by default, those at risk first),
// and its hardest items.

import { runQuery } from './api.js';
import { saveFile, toCsv } from './csv.js';
import { h, show } from './dom.js';
import { longDay, number, percent, shortDay } from './format.js';
import { t } from './i18n.js';
import { card, expectedOf, note, table } from './layout.js';
import { View, problemCard } from './problems.js';
import * as session from './session.js';
import { level, word } from './items.js';

const COLUMNS = [
  'userId', 'displayName', 'lastStudyDate', 'currentStreak', 'answersLast7Days', 'accuracyLast7Days',
  'totalItemsLearned', 'expectedKnown', 'atRisk',
];
const LEARNERS = `learners(groupId: $group, orderBy: $order, first: $first, after: $after) {
  totalCount
  pageInfo { hasNextPage endCursor }
  edges { node { ${COLUMNS.join(' ')} } }
}`;
const ARGUMENTS = '$group: ID!, $order: LearnerOrder, $after: String, $first: Int = 100';
const QUERY = `query Group(${ARGUMENTS}) {
  group(groupId: $group) {
    members activeLast7Days answersLast7Days accuracyLast7Days
    hardestItems(first: 10) { itemId headword level learners answers accuracyRate lapses }
  }
  ${LEARNERS}
}`;
// Together with the fields above, these would be too many rows for one request.
const MEMORY = `query Memory($group: ID!) {
  group(groupId: $group) {
    knowledge { items expected }
    itemsFading(first: 10) { itemId headword level learners answered }
  }
}`;
const MORE = `query Learners(${ARGUMENTS}) { ${LEARNERS} }`;
const ORDERS = ['AT_RISK', 'INACTIVE', 'ACCURACY', 'STREAK'];
const INTERVAL_MS = 60_000;

export class Group extends View {
  /** If `groupId` is null, the view shows the first group that the teacher's token names. */
  constructor(element, groupId, parameters, shell) {
    const order = (parameters.get('order') ?? '').toUpperCase();
    super(element, shell, { rows: [], groupId: groupId ?? session.groups()[0] ?? null });
    this.order = ORDERS.includes(order) ? order : ORDERS[0];
    this.listen();
    if (this.groupId) this.load();
    else this.draw();
    this.clock = setInterval(() => document.hidden || this.pages > 1 || !this.groupId || this.load(), INTERVAL_MS);
  }

  close() {
    super.close();
    this.request?.abort();
    clearInterval(this.clock);
  }

  /** Load the group or, with `more`, the next page of its learners. A newer request aborts an older one. */
  async load(more = false) {
    this.request?.abort();
    const { signal } = (this.request = new AbortController());
    const after = more ? this.data.learners.pageInfo.endCursor : null;
    try {
      const group = this.groupId;
      const [{ data }, memory] = await Promise.all([
        runQuery(more ? MORE : QUERY, { group, order: this.order, after }, signal),
        more ? null : runQuery(MEMORY, { group }, signal),
      ]);
      if (signal.aborted) return;
      if (memory) data.group = data.group && memory.data.group && { ...data.group, ...memory.data.group };
      this.pages = more ? this.pages + 1 : 1;
      this.rows = [...(more ? this.rows : []), ...data.learners.edges.map((edge) => edge.node)];
      this.data = { ...this.data, ...data };
      this.succeed();
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    }
  }

  listen() {
    this.on('change', ({ target }) => this.change(target));
    this.on('click', ({ target }) => {
      if (target.closest('[data-more]')) this.load(true);
      if (target.closest('[data-csv]')) this.save();
    });
    this.on('submit', (event) => {
      event.preventDefault();
      this.open(new FormData(event.target).get('group').trim());
    });
  }

  /** Save all learners of the group as a CSV file, in the selected order. */
  async save() {
    const { groupId, order } = this;
    const rows = [];
    try {
      for (let after = null, isLast = false; !isLast;) {
        const { data } = await runQuery(MORE, { group: groupId, order, after, first: 200 }, this.closing.signal);
        const { edges, pageInfo } = data.learners;
        rows.push(...edges.map((edge) => edge.node));
        [after, isLast] = [pageInfo.endCursor, !pageInfo.hasNextPage];
      }
    } catch (problem) {
      if (!this.closing.signal.aborted) this.fail(problem);
      return;
    }
    saveFile(`${groupId}.csv`, 'text/csv', toCsv(COLUMNS, rows));
  }

  change({ name, value }) {
    if (name === 'group') this.open(value);
    if (name !== 'order') return;
    this.order = value;
    const query = value === ORDERS[0] ? '' : `?order=${value.toLowerCase()}`;
    history.pushState(null, '', `#/group/${encodeURIComponent(this.groupId)}${query}`);
    this.load();
  }

  open(groupId) {
    if (groupId) location.hash = `#/group/${encodeURIComponent(groupId)}`;
  }

  draw() {
    const isKnown = Boolean(this.data);
    const problem = this.problem && problemCard(this.problem, this.retry, isKnown);
    this.element.setAttribute('aria-busy', String(Boolean(this.groupId) && !isKnown && !this.problem));
    show(this.element, this.head(), isKnown ? this.sections() : [], problem);
  }

  head() {
    return h('header', { class: 'head', 'data-key': 'head' },
      h('h1', null, this.groupId ? t('group.title', { group: this.groupId }) : t('group.groups')),
      this.selection());
  }

  /** Teachers select one of their groups. Other users enter the id of a group. */
  selection() {
    const groups = session.groups();
    if (session.role() !== 'teacher') {
      return h('form', { class: 'finder' },
        h('label', { class: 'unseen', for: 'group-id' }, t('group.id')),
        h('input', { id: 'group-id', name: 'group', placeholder: t('group.id'), maxlength: 200, autocomplete: 'off' }),
        h('button', { class: 'button quiet' }, t('frame.show')));
    }
    if (!groups.length) return note(t('group.noGroups'));
    return groups.length > 1 && h('label', { class: 'control' }, h('span', null, t('group.select')),
      h('select', { name: 'group' }, groups.map((group) =>
        h('option', { value: group, selected: group === this.groupId }, group))));
  }

  sections() {
    const { group } = this.data;
    if (!group) return h('section', { class: 'card wide', 'data-key': 'empty' }, h('p', null, t('group.empty')));
    return [
      standing(group), this.learners(),
      h('div', { class: 'cards', 'data-key': 'cards' },
        expected(group), fading(group.itemsFading), hardest(group.hardestItems)),
    ];
  }

  learners() {
    const { totalCount, pageInfo } = this.data.learners;
    const order = h('label', { class: 'control' }, h('span', null, t('group.order')),
      h('select', { name: 'order' }, ORDERS.map((value) =>
        h('option', { value, selected: value === this.order }, t(`group.orders.${value}`)))));
    return h('section', { class: 'card wide', 'aria-labelledby': 'learners', 'data-key': 'learners' },
      h('div', { class: 'head' }, h('h2', { id: 'learners' }, t('group.learners', { count: totalCount })), order),
      note(t('group.riskMeaning')),
      h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-labelledby': 'learners' },
        table([
          t('group.learner'), t('group.last'), t('group.streak'), t('group.answers'), t('group.accuracy'),
          t('group.learned'), t('group.expected'),
        ], this.rows.map(learnerRow))),
      h('div', { class: 'tools' },
        pageInfo.hasNextPage &&
          h('button', { type: 'button', class: 'button quiet', 'data-more': true }, t('items.more')),
        totalCount > 0 && h('button', { type: 'button', class: 'button quiet', 'data-csv': true }, t('group.save'))));
  }
}

function standing({ members, activeLast7Days, answersLast7Days, accuracyLast7Days }) {
  const figures = [
    [t('group.members'), number(members)],
    [t('group.active'), number(activeLast7Days)],
    [t('group.answers'), number(answersLast7Days)],
    [t('group.accuracy'), percent(accuracyLast7Days)],
  ];
  return h('section', { class: 'card wide', 'aria-label': t('group.standing'), 'data-key': 'standing' },
    h('dl', { class: 'figures row' }, figures.map(([name, value]) =>
      h('div', null, h('dt', null, name), h('dd', null, value)))));
}

function learnerRow(row) {
  const { userId, displayName, lastStudyDate, currentStreak, answersLast7Days, accuracyLast7Days } = row;
  const { totalItemsLearned, expectedKnown, atRisk } = row;
  return [
    [h('a', { href: `#/learner/${encodeURIComponent(userId)}`, translate: 'no' }, displayName ?? userId),
      displayName && h('span', { class: 'of', translate: 'no' }, userId),
      atRisk && h('span', { class: 'of' }, h('span', { class: 'chip bad' }, t('group.atRisk')), ' ', reason(row))],
    lastStudyDate ? dayOf(lastStudyDate) : t('group.never'),
    t('group.days', { count: currentStreak }),
    number(answersLast7Days), percent(accuracyLast7Days), number(totalItemsLearned),
    number(Math.round(expectedKnown)),
  ];
}

/** Format a day. If it is in the current year, omit the year. */
const dayOf = (day) => (Number(day.slice(0, 4)) === new Date().getFullYear() ? shortDay : longDay)(day);

/** The reason why a learner is at risk. */
function reason({ lastStudyDate, answersLast7Days, accuracyLast7Days }) {
  if (answersLast7Days >= 20 && accuracyLast7Days < 0.6) return t('group.lowAccuracy');
  return t(lastStudyDate ? 'group.inactive' : 'group.notStarted');
}

/** How much of what the members answered they are expected to know. */
function expected({ members, knowledge }) {
  return card('knowledge', t('group.knowledge'), 'wide',
    knowledge.items > 0 && expectedOf(knowledge),
    note(t(knowledge.items ? 'group.knowledgeMeaning' : 'group.noKnowledge', { count: members })));
}

function fading(items) {
  return card('fading', t('group.fading'), 'wide',
    note(t(items.length ? 'group.fadingMeaning' : 'group.noFading')),
    items.length > 0 && table([t('items.item'), t('group.fadingFor'), t('group.answeredBy')], items.map((item) => [
      [word(item), level(item)], h('b', null, number(item.learners)), number(item.answered),
    ])));
}

function hardest(items) {
  return card('hardest', t('group.hardest'), 'wide',
    note(t(items.length ? 'group.hardestMeaning' : 'group.noHardest')),
    items.length > 0 && table(
      [t('items.item'), t('items.right'), t('group.learnersOf'), t('group.answersOf'), t('items.lapses')],
      items.map((item) => [
        [word(item), level(item)], h('b', null, percent(item.accuracyRate)),
        number(item.learners), number(item.answers), number(item.lapses),
      ])));
}
