// The view "Lists", with the learner's own lists, those of groups and the levels of scales; and the page of one list.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { clock, floor, number } from './format.js';
import { changesPace, expected, opened, scaleSelect, shareOf, stageLegend, toReach } from './how_far.js';
import { join, t } from './i18n.js';
import { listenForSearch, searchField } from './item_list.js';
import { stateOf } from './item_page.js';
import {
  appLink, due, itemList, itemPage, level, listLink, listName, listPage, listsPage, tags, taskText, word,
} from './items.js';
import { button, card, expectedOf, note, pairs, stamp, table } from './layout.js';
import { learnName, nameOf, visible } from './names.js';
import { View } from './problems.js';
import { TASKS } from './query.js';
import { LISTS, NUMBERS, loadScales, rowsOf } from './scales.js';
import { ask, pastDay } from './past_day.js';
import { assignDoor, groupOfTasks, listenForTasks } from './task_doors.js';

const ENOUGH = 50; // rows; with a filter, the page reads on until it has so many more,
const MAX_PAGES = 10; // but at most so many pages; then, the user may ask for more

const FRAME = `languages(userId: $user) { language kinds }
  today: dueForecast(userId: $user, days: 1) { date }
  tasks(first: 20, userId: $user) @include(if: $isNow) ${TASKS}`;
// Tasks and scales have no past: `ask` leaves their fields as they are.
const LISTS_QUERY = `query Lists($user: ID, $whose: ID, $scale: String, $after: String, $isNow: Boolean!) {
  lists(userId: $user, scale: $scale, first: 50, after: $after) { ${LISTS} }
  scales(userId: $whose) { name }
  ${FRAME}
}`;
const MEMBERS = `members(first: 200, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { itemId headword language kind level own mastery dueAt dueOn inPlay setAside } }
  }`;
const LIST_QUERY = `query List($user: ID, $list: ID!, $after: String, $isNow: Boolean!) {
  list(userId: $user, listId: $list) { ${NUMBERS} ${MEMBERS} }
  ${FRAME}
}`;

/** A view of rows. A subclass has fetch(after, signal), which returns a page of `rows` and the next `cursor`. */
class Pages extends View {
  constructor(element, shell, fields) {
    super(element, shell, fields);
    this.on('click', ({ target }) => {
      if (target.closest('[data-refresh]')) this.load();
      if (target.closest('[data-more]')) this.load(true);
    });
  }

  /** Load the first page or, with `more`, the next; then others, until enough rows match. Abort an older request. */
  async load(more = false) {
    const isAgain = !more && this.data !== null;
    const wanted = ENOUGH + (more ? this.matching().length : 0);
    return this.attempt(async (signal) => {
      let pages = 0;
      do {
        const isNext = more || pages > 0;
        const page = await this.fetch(isNext ? this.data.cursor : null, signal);
        if (signal.aborted) return;
        this.data = isNext ? { ...this.data, ...page, rows: [...this.data.rows, ...page.rows] } : page;
        this.succeed();
        pages += 1;
      } while (this.data.cursor && pages < MAX_PAGES && this.matching().length < wanted);
      if (isAgain) this.shell.announce(t('stamp.at', { time: clock(this.data.at) }));
    });
  }

  matching() {
    return this.data.rows;
  }
}

export class Lists extends Pages {
  constructor(element, user, parameters, shell) {
    super(element, shell, { user, scale: parameters.get('scale') ?? '' });
    this.on('change', ({ target }) => {
      if (target.name !== 'scale') return;
      this.scale = target.value;
      history.pushState(null, '', listsPage(user, this.scale));
      this.load();
    });
    this.load();
  }

  async fetch(after, signal) {
    const at = Date.now();
    const { user, scale } = this;
    const variables = { user, whose: user, scale: scale || null, after, isNow: !pastDay() };
    const { data: { lists, scales, ...frame } } = await ask(LISTS_QUERY, variables, signal);
    if (after) return rowsOf(lists);
    const names = scales.map(({ name }) => name);
    const studied = scale ? [] : await loadScales(user, scales, signal);
    return { at, scale, names, studied, frame, ...rowsOf(lists) };
  }

  sections() {
    const { at, scale, rows, cursor, names, studied, frame } = this.data; // another scale may be loading
    const { user } = this;
    const choices = ['', ...new Set(scale ? [...names, scale] : names)];
    return [
      h('h1', { 'data-key': 'title' }, user ? t('items.listsOf', { user: nameOf('learner', user) }) : t('view.lists')),
      stamp(at),
      cards('lists', t('view.lists'),
        card('mine', scale || t('lists.mine'), 'wide',
          choices.length > 1 && h('label', { class: 'control' }, h('span', null, t('levels.scale')),
            scaleSelect(choices, scale, t('lists.mine'))),
          rows.length > 0 ? listTable(rows, user, scale, frame) : note(t(user ? 'lists.noneOf' : 'lists.none')),
          rows.some(({ own }) => own) && note(t('list.own')),
          cursor && button('more', 'more', t('items.more'))),
        studied.map((one) => card(`scale-${one.name}`, one.name, 'wide',
          listTable(one.rows, user, one.name),
          one.cursor && h('div', { class: 'tools' },
            h('a', { class: 'button quiet', href: listsPage(user, one.name) }, t('items.more')))))),
    ];
  }
}

const cards = (key, title, ...content) => h('section', { 'aria-labelledby': key, 'data-key': key },
  h('h2', { id: key, class: 'unseen' }, title),
  h('div', { class: 'cards' }, content));

/** How much of a list each group's task asks for, and until when; nothing in the past. */
const tasksOf = (id, { tasks, today: [{ date: today }] }) => (tasks?.edges ?? [])
  .filter(({ node }) => node.listId === id)
  .map(({ node: task }) => h('span', { class: 'of' },
    join(taskText(task, today), visible(task.groupName) ?? task.groupId)));

const dueOf = (list, user) => opened(list, list.due, user, { filter: 'due' });

/** Lists of the scale `shown` are levels; of others, a task says how it stands. What is known is on its own page. */
const listTable = (lists, user, shown, frame) => [
  table([t('items.list'), t('levels.known'), t('lists.due'), t('expected.title')], lists.map((list) => {
    const tasks = shown ? [] : tasksOf(list.id, frame);
    const name = [...listLink(list, user),
      list.scale && list.scale !== shown && h('span', { class: 'of', dir: 'auto', translate: 'no' }, list.scale)];
    if (tasks.length) return [[...name, ...tasks], null, dueOf(list, user), null];
    return [name, shareOf(list, user), dueOf(list, user), number(floor(list.expected))];
  }), 'stacking lists'),
  stageLegend(),
];

/** On a past day, the catalogue may not have had the words yet: then take those that it has now. */
async function nameRows(rows, variables, signal) {
  if (!pastDay() || rows.every(({ headword }) => headword)) return rows;
  const { data } = await runQuery(LIST_QUERY, variables, signal);
  const words = new Map(data.list.members.edges.map(({ node }) => [node.itemId, node.headword]));
  return rows.map(({ headword, ...row }) => ({ headword: headword ?? words.get(row.itemId), ...row }));
}

export class ListPage extends Pages {
  constructor(element, id, user, parameters, shell) {
    super(element, shell, { id, user, search: parameters.get('search') ?? '', missing: parameters.get('missing') });
    listenForSearch(this);
    listenForTasks(this, groupOfTasks);
    this.on('change', ({ target }) => {
      if (changesPace(target)) this.draw();
      if (target.name === 'missing') this.change({ missing: target.value || null });
    });
    this.naming = this.load();
    this.keepTime();
  }

  async fetch(after, signal) {
    const at = Date.now();
    const variables = { user: this.user, list: this.id, after, isNow: !pastDay() };
    const { data: { list, ...frame } } = await ask(LIST_QUERY, variables, signal);
    learnName('list', this.id, list?.name);
    this.shell.named();
    if (!list) return { at, list, rows: [] };
    const { rows, cursor } = rowsOf(list.members);
    return { at, list, frame, rows: await nameRows(rows, variables, signal), cursor };
  }

  change(changes) {
    Object.assign(this, changes);
    const { search, missing } = this;
    const parameters = { ...search && { search }, ...missing && { missing } };
    history.replaceState(null, '', listPage(this.id, this.user, parameters));
    if (!this.data?.list) return;
    this.draw();
    this.shell.announce(t('items.found', { count: this.matching().length }));
    if (this.data.cursor && this.matching().length < ENOUGH) this.load(true);
  }

  matching() {
    const search = this.search.toLowerCase();
    const isMissing = ({ mastery, setAside }) => mastery === 'UNLEARNED' && !setAside;
    return this.data.rows.filter(({ headword, itemId, ...row }) => (!this.missing || isMissing(row))
      && (visible(headword) ?? itemId).toLowerCase().includes(search));
  }

  sections() {
    const { list, at, frame } = this.data;
    const { user } = this;
    const back = h('p', { 'data-key': 'back' }, h('a', { class: 'back', href: listsPage(user) }, t('view.lists')));
    if (!list) {
      const title = h('h1', null, t('lists.missing'));
      return [back, h('section', { class: 'card wide problem', 'data-key': 'missing' }, title)];
    }
    const { scale, archived, own, items, itemsStudied, masteredLast28Days } = list;
    const lacks = toReach(list, frame.today[0].date);
    return [
      back,
      h('header', { class: 'item-head', 'data-key': 'head' },
        h('h1', null, listName(list), tags(own && t('items.own'))),
        scale && note(scale), archived && note(t('lists.isArchived')), own && note(t('list.own')),
        tasksOf(list.id, frame),
        !user && !pastDay() && items > 0
          && h('div', { class: 'tools' }, appLink('items.practise', { list: list.id }, true)),
        user && !own && !archived && groupOfTasks() && h('div', { class: 'tools' }, assignDoor(list.id))),
      stamp(at),
      cards('list', t('items.list'),
        card('known', t('levels.known'), null, shareOf(list, user), stageLegend(), pairs([
          [t('lists.due'), dueOf(list, user)],
          [t('levels.pace'), number(masteredLast28Days)],
          [t('levels.expected'), expected(list, true)],
        ]), lacks.length > 0 && note(lacks)),
        card('expected', t('expected.title'), null, expectedOf(list), itemsStudied > 0 && h('div', { class: 'tools' },
          h('a', { class: 'button quiet', href: itemList(user, { list: list.id }) }, t('items.see')))),
        card('members', t('items.title'), 'wide', items > 0 ? this.members() : note(t('lists.empty')))),
    ];
  }

  members() {
    const { list, rows: read, cursor, frame: { today: [{ date: today }] } } = this.data;
    const rows = this.matching();
    const count = rows.length;
    const isFiltered = this.missing || this.search;
    const option = (value, text) => h('option', { value, selected: value === (this.missing ?? '') }, t(text));
    return [
      h('div', { class: 'controls-row', role: 'search' }, searchField(this.search),
        h('label', { class: 'control' }, h('span', null, t('frame.show')),
          h('select', { name: 'missing' }, option('', 'list.filters.ALL'), option('yes', 'lists.onlyMissing')))),
      note(isFiltered && cursor ? t('lists.foundSoFar', { count, read: read.length, items: list.items })
        : isFiltered && !count ? t('items.noMatch') : t('items.found', { count: isFiltered ? count : list.items })),
      !list.own && rows.some(({ own }) => own) && note(t('list.own')),
      count > 0 && table([t('items.item'), t('lag.state'), t('items.due')], rows.map((item) => [
        [h('a', { href: itemPage(item.itemId, this.user, list.id) }, word(item)), level(item)],
        [stateOf(item.mastery), tags(item.setAside && t('list.filters.SET_ASIDE'))], due(item, today),
      ]), 'items item-list'),
      cursor && button('more', 'more', t('items.more')),
    ];
  }
}
