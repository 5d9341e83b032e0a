// The tasks of a group: which lists it is to learn until when, and who has done it; and the page of one task.

import { runQuery } from './api.js';
import { saveCsv } from './csv.js';
import { h } from './dom.js';
import { clock, decimal, fullDay, localDate, longDay, nearDay, now, number, shortDay } from './format.js';
import { join, t } from './i18n.js';
import { listName, taskText, word } from './items.js';
import { button, note, panel, stamp, table } from './layout.js';
import { learnName, nameOf } from './names.js';
import { View } from './problems.js';
import { withParameter } from './past_day.js';
import { addressOf, findAlike, groupName, learnLearners, linkTo } from './member_links.js';
import { listenForTasks, setDoor, taskDoors } from './task_doors.js';

export const MOST = 20; // tasks of a request
const FIRST = 3; // names of those who are furthest from a task
const MEMBER = 'userId displayName items known knownNow done expected';
const TASK = 'listId listName dueOn items done';
const CARD_QUERY = `query GroupTasks($group: ID!, $first: Int) {
  group(groupId: $group) {
    members
    tasks(first: $first) {
      pageInfo { hasNextPage }
      edges { node { ${TASK} members(first: ${FIRST}) { edges { node { ${MEMBER} } } } } }
    }
  }
}`;
const TASK_QUERY = `query Task($group: ID!, $before: String, $after: String) {
  group(groupId: $group) {
    name members
    tasks(first: 1, after: $before) { edges { cursor node {
      ${TASK} members(first: 200, after: $after) { pageInfo { hasNextPage endCursor } edges { node { ${MEMBER} } } }
    } } }
  }
}`;

const WORDS_QUERY = `query TaskWords($group: ID!, $before: String) {
  group(groupId: $group) { tasks(first: 1, after: $before) { edges { node {
    words(first: 50) { edges { node { itemId headword members knownNow expected } } }
  } } } }
}`;

/** Return the group's number of members, and of its tasks the `first` ones, the latest day first. */
export async function loadTasks(group, first, signal) {
  return (await runQuery(CARD_QUERY, { group, first }, signal)).data.group;
}

/** A card with a row for each task; nothing without one. `link` is the address of a task, `name` a member's name. */
export const tasks = ({ members, tasks: { edges, pageInfo } }, link, name) => edges.length > 0
  && panel('tasks', t('tasks.title'), 'wide',
    table([t('items.list'), t('tasks.day'), t('tasks.by'), t('tasks.furthest')], edges.map(({ node: task }) => [
      h('a', { href: link(task.listId) }, listName({ id: task.listId, name: task.listName })),
      [nearDay(task.dueOn, localDate(now())), taskDoors(task.listId, task.dueOn)],
      doneBy(task, members), furthest(task, name),
    ]), 'stacking tasks'),
    note(t('tasks.meaning')),
    pageInfo.hasNextPage && edges.length < MOST && button('tasks', 'tasks', t('items.more')));

/** How many members have done a task; for a list without words or with too many, only its size. */
const doneBy = ({ done, items }, members) =>
  (done === null ? t('items.found', { count: items }) : t('tasks.doneBy', { count: done, members }));

/** The first members who have not done a task, with the words that they have learned. */
function furthest({ members, dueOn }, name) {
  const rows = members.edges.map(({ node }) => node).filter(({ done }) => done === false);
  return rows.length > 0 ? h('ul', { class: 'repeat' }, rows.map((row) => h('li', null,
    name(row), ' ', h('span', { class: 'of' }, said(row, dueOn))))) : '–';
}

const said = (member, dueOn) => taskText({ ...member, dueOn }, localDate(now()));

export class Task extends View {
  constructor(element, group, list, shell) {
    super(element, shell, { group, list });
    listenForTasks(this, () => group, () => this.data.words);
    this.on('click', ({ target }) => {
      if (target.closest('[data-refresh]')) this.load();
      if (target.closest('[data-csv]')) this.save();
      if (target.closest('[data-print]')) print();
    });
    this.naming = this.load();
  }

  /** Read the tasks one by one up to this one, and all members of it; `task` is missing if there is none. */
  async read(signal) {
    const at = Date.now();
    const rows = [];
    let place = { before: null, after: null };
    for (;;) {
      const { data: { group } } = await runQuery(TASK_QUERY, { group: this.group, ...place }, signal);
      const [{ cursor, node: task } = {}] = group?.tasks.edges ?? [];
      if (task && task.listId !== this.list) {
        place = { before: cursor, after: null };
        continue;
      }
      rows.push(...(task?.members.edges ?? []).map(({ node }) => node));
      place.after = task?.members.pageInfo.endCursor;
      if (task?.members.pageInfo.hasNextPage) continue;
      learnName('group', this.group, group?.name);
      learnName('list', this.list, task?.listName);
      learnLearners(rows);
      const words = task && task.done !== null ? await this.readWords(place.before, signal) : [];
      return { at, task, rows, size: group?.members, words };
    }
  }

  /** The words that some member has never known, at most 50. */
  async readWords(before, signal) {
    const { data: { group } } = await runQuery(WORDS_QUERY, { group: this.group, before }, signal);
    const words = group?.tasks.edges[0]?.node.words.edges.map(({ node }) => node) ?? [];
    return words.filter(({ members, knownNow }) => knownNow < members);
  }

  succeed() {
    this.shell.named();
    super.succeed();
  }

  sections() {
    const { at, task, rows, size, words } = this.data;
    const back = h('a', { class: 'back', href: addressOf(this.group) }, groupName(this.group));
    if (!task) {
      const missing = h('h1', null, t('tasks.missing'));
      return h('section', { class: 'card wide problem', 'data-key': 'missing' }, back, missing);
    }
    const { dueOn, items, done } = task;
    const isCounted = done !== null;
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('div', null, back,
        h('h1', null, listName({ id: this.list, name: task.listName })),
        h('p', null, t('tasks.size', { count: items, day: fullDay(dueOn) })),
        isCounted && h('p', null, h('b', null, doneBy(task, size))),
        h('p', { class: 'printed' }, join(groupName(this.group), longDay(localDate(at)), clock(at))),
        taskDoors(this.list, dueOn))),
      stamp(at),
      panel('who', t('group.learners', { count: rows.length }), 'wide',
        note(t(isCounted ? 'tasks.meaning' : items ? 'tasks.tooLarge' : 'lists.empty')),
        isCounted && [
          h('div', { class: 'tools' },
            button('csv', 'csv', t('group.save')), button('print', 'print', t('group.print'))),
          table([t('group.learner'), t('glossary.words.learned'), t('tasks.left')],
            rows.map((row) => this.row(row)), 'stacking task'),
        ]),
      words.length > 0 && panel('words', t('tasks.words'), 'wide', note(t('tasks.wordsMeaning')),
        table([t('items.item'), t('tasks.knownBy'), this.expectedTitle()], words.map((one) => [
          h('a', { href: `#/group/${[this.group, one.itemId].map(encodeURIComponent).join('/')}` }, word(one)),
          t('tasks.ofMembers', { count: one.knownNow, members: one.members }), decimal(one.expected),
        ]), 'stacking'),
        h('div', { class: 'tools' }, setDoor('words', words))),
    ];
  }

  /** The title of what is expected on the task's day or, if it is past, today. */
  expectedTitle() {
    const [today, { dueOn }] = [localDate(now()), this.data.task];
    return t('tasks.expected', { day: shortDay(dueOn < today ? today : dueOn) });
  }

  row({ userId, displayName, ...member }) {
    const alike = findAlike(this.data.rows.map((row) => row.displayName));
    const href = withParameter(`#/learner/${encodeURIComponent(userId)}`, 'group', this.group);
    return [linkTo(href, userId, displayName, alike), said(member, this.data.task.dueOn),
      h('b', null, number(member.items - member.known))];
  }

  /** Save the numbers of the members. Words that were learned after the day have a column only if there are some. */
  save() {
    const { task: { dueOn }, rows: members } = this.data;
    const day = shortDay(dueOn);
    const isLate = members.some(({ known, knownNow }) => known < knownNow);
    const columns = [t('group.idOf'), t('group.learner'), t('tasks.left'), t('tasks.until', { day }),
      this.expectedTitle(), ...(isLate ? [t('tasks.now')] : [])];
    const rows = members.map(({ userId, displayName, items, known, expected, knownNow }) => {
      const values = [userId, displayName, items - known, known, expected, knownNow];
      return Object.fromEntries(columns.map((column, index) => [column, values[index]]));
    });
    const name = [groupName(this.group), nameOf('list', this.list), localDate(now())].join(' - ');
    saveCsv(name, columns, rows);
  }
}
