// A teacher's view of a group: who is at risk and what to repeat, its learners (by default, those whom a talk helps
// most first), its activity, what it is expected to know, and its hardest items. The view follows the group's changes.

import { runQuery } from './api.js';
import { answerParts, axis, chart, columns, dateLabels, legend, openKey, roundUp } from './charts.js';
import { saveCsv } from './csv.js';
import { h, s, show } from './dom.js';
import {
  dayAfter, dayOf as dateOf, floor, instant, localDate, longDay, nearDay, now, number, percent, shortDay, signed,
} from './format.js';
import { loadSkills, skills } from './group_skills.js';
import { MOST, loadTasks, tasks } from './group_tasks.js';
import { join, sentences, t } from './i18n.js';
import { level, word } from './items.js';
import { button, card, expectedOf, mark, note, pairs, panel, table, unfolded } from './layout.js';
import { Loads } from './loads.js';
import { commonEnd } from './local_days.js';
import { learnName, nameOf, visible } from './names.js';
import { isOpen } from './periods.js';
import { View, problemCard } from './problems.js';
import * as session from './signed_in.js';
import { Subscription } from './stream.js';
import { dayOf as dayIn, microsecondBefore, withParameter } from './past_day.js';
import { findAlike, learnLearners, leave, linkTo } from './member_links.js';
import { listenForTasks, setDoor } from './task_doors.js';

const HARD = 0.85; // with more right answers, a word is not hard
const RISKS = { inactive: 'INACTIVE', lowAccuracy: 'LOW_ACCURACY', neverStudied: 'NEVER_STUDIED' };
const STANDING =
  `name members activeLast7Days answersLast7Days accuracyLast7Days atRisk ${Object.keys(RISKS).join(' ')}`;
const learnersOf = (isPast) => `learners(groupId: $group, orderBy: $order, first: 150, after: $after, asOf: $asOf) {
  totalCount
  pageInfo { hasNextPage endCursor }
  edges { node {
    userId displayName lastStudyDate currentStreak answersLast7Days accuracyLast7Days totalItemsLearned
    ${isPast ? '' : 'expectedKnown'}
    atRisk riskReasons lastAnsweredAt weeks { start answers accuracyRate }
    since(date: $since, days: $days) { answers accuracyRate daysWithGoal daysMet }
  } }
}`;
const ARGUMENTS = '$group: ID!, $order: LearnerOrder, $after: String, $since: Date, $days: Int, $asOf: DateTime';
// The estimates of a past day would be too many rows.
const queryOf = (isPast) => `query Group(${ARGUMENTS}) {
  group(groupId: $group, asOf: $asOf) {
    ${STANDING}
    weeks { start activeMembers answers accuracyRate }
    ${isPast ? '' : 'hardestItems(first: 10) { itemId headword level learners answers accuracyRate }'}
  }
  ${learnersOf(isPast)}
}`;
// Together with the fields above, these would be too many rows for one request.
const MEMORY = `query Memory($group: ID!) {
  group(groupId: $group) {
    knowledge { items expected }
    itemsFading(first: 10) { itemId headword level learners answered }
  }
}`;
const MEMBERS = `query Members($group: ID!) {
  learners(groupId: $group, first: 50) { edges { node { userId } } }
}`;
const moreOf = (isPast) => `query Learners(${ARGUMENTS}) { ${learnersOf(isPast)} }`;
const SUBSCRIPTION = `subscription Standing($group: ID!) { group: groupUpdated(groupId: $group) { ${STANDING} } }`;
const RANGES = [1, 4, 12]; // weeks; 1 means the last seven local days
const DAYS = 7;
const INTERVAL_MS = 60_000; // Between two requests without a change.
const MIN_INTERVAL_MS = 3_000; // Between two requests, even if changes arrive faster: see the rate limit of the API.
const STUDYING_MS = 300_000; // Whose last answer is not older studies right now.
const DAY_MS = 86_400_000;
const MAX_DAYS = 365; // from a day that can be chosen
const FIRST = 5; // names of those at risk
const MAX_PAST = 50; // members of a group of which the API tells a past day

/**
 * The orders of learners: the API's order, if it has one, and the value by which loaded learners are sorted. Learners
 * without the value come last. An order without a value is the server's, and is not reversed.
 */
const ORDERS = {
  urgent: { api: 'URGENCY' },
  praise: { api: 'PRAISE' },
  name: { by: (row) => (row.displayName ?? row.userId).toLowerCase() },
  inactive: { api: 'INACTIVE', by: (row) => row.lastStudyDate ?? '' },
  streak: { api: 'STREAK', by: (row) => row.currentStreak, isDescending: true },
  goal: { by: ({ since }) => (since?.daysWithGoal ? since.daysMet / since.daysWithGoal : null), isDescending: true },
  answers: { by: (row, range) => rangeOf(row, range).answers, isDescending: true },
  accuracy: { api: 'ACCURACY', by: (row, range) => rangeOf(row, range).rate },
  learned: { by: (row) => row.totalItemsLearned, isDescending: true },
  expected: { by: (row) => row.expectedKnown, isDescending: true },
  change: { by: (row) => change(row.weeks) },
};

const lastWeeks = (weeks) => weeks.filter(({ isOpen }) => !isOpen).slice(-2);
/** How many answers more the last whole week has than the week before it. */
function change(weeks) {
  const [before, last] = lastWeeks(weeks);
  return last.answers - before.answers;
}

export class Group extends View {
  keeps = ['data', 'rows', 'pages', 'tasks'];

  constructor(element, groupId, parameters, shell) {
    const order = parameters.get('order');
    const weeks = Number(parameters.get('weeks'));
    const since = parameters.get('since');
    super(element, shell, {
      rows: [], text: '', skills: null, tasks: null, mostTasks: 5, groupId, pages: 0, requestedAt: -INTERVAL_MS,
      hash: location.hash,
    });
    this.order = Object.hasOwn(ORDERS, order) ? order : 'urgent';
    this.isReversed = parameters.has('reverse') && 'by' in ORDERS[this.order];
    this.isFiltered = parameters.has('risk'); // only learners at risk
    this.weeks = RANGES.includes(weeks) ? weeks : 1;
    this.day = dayIn(parameters); // null for the present
    const isDay = dateOf(instant(since) || 0) === since;
    this.since = isDay && firstDay(this.day) <= since && since <= (this.day ?? lastDay()) ? since : null;
    this.loads = new Loads({
      skills: { at: 'skills', run: () => this.loadSkills() },
      tasks: { on: ['load'], least: INTERVAL_MS, isQuiet: true, run: () => this.loadTasks() },
    }, (problem) => this.fail(problem));
    this.listen();
    if (this.restore()) {
      this.draw();
      scrollTo(0, this.scroll);
      this.follow();
    }
    if (this.pages < 2) this.naming = this.load();
    else this.loads.happen('load');
    this.every(INTERVAL_MS, () => this.pages > 1 || this.day || this.load());
  }

  close() {
    super.close();
    this.loads.close();
    const { hash, groupId: group } = this;
    if (this.data?.group) leave({ hash, group, users: this.shown().map(({ userId }) => userId) });
    this.subscription?.close();
    clearTimeout(this.later);
  }

  /** Load the group or, with `more`, the next page of its learners. A newer request aborts an older one. */
  async load(more = false) {
    const signal = this.renew();
    clearTimeout(this.later);
    this.later = null;
    this.requestedAt = performance.now();
    this.loads.happen('load');
    const after = more ? this.data.learners.pageInfo.endCursor : null;
    try {
      const { groupId: group, apiOrder: order, from: since, day } = this;
      const asOf = day && await findEnd(group, day, signal);
      const variables = { group, order, after, since, days: since ? null : DAYS, asOf };
      const [{ data }, memory] = await Promise.all([
        runQuery((more ? moreOf : queryOf)(Boolean(day)), variables, signal),
        more || day ? null : runQuery(MEMORY, { group }, signal),
      ]);
      if (signal.aborted) return;
      if (memory) data.group = data.group && memory.data.group && { ...data.group, ...memory.data.group };
      const rows = data.learners.edges.map((edge) => edge.node);
      for (const one of [data.group, ...rows].filter((some) => some?.weeks)) {
        if (day) one.weeks = one.weeks.filter(({ start }) => start <= day); // further east, the next week has begun
        const last = one.weeks.at(-1);
        last.isOpen = isOpen({ end: dayAfter(last.start, 6) }, day ?? last.start, day && Date.parse(asOf) < Date.now());
      }
      this.data = { ...this.data, ...data };
      if (this.from !== since) return await this.load(); // only the answer says which weeks the range has
      this.isCounting = false;
      this.pages = more ? this.pages + 1 : 1;
      this.rows = [...(more ? this.rows : []), ...rows];
      learnName('group', group, data.group?.name);
      learnLearners(this.rows);
      this.shell.named();
      this.succeed();
      this.loads.happen('page'); // the skills, if they failed
      this.follow();
      if (this.needsAll()) await this.load(true);
    } catch (problem) {
      if (signal.aborted) return;
      if (!this.day || problem.code !== 'BAD_USER_INPUT') return this.fail(problem);
      Object.assign(this, { data: { group: null }, isCounting: false }); // with more than MAX_PAST members
      this.succeed();
    }
  }

  async loadSkills() {
    this.skills = await loadSkills(this.rows.map(({ userId }) => userId), this.closing.signal);
    this.draw();
  }

  async loadTasks() {
    if (this.day) return;
    this.tasks = await loadTasks(this.groupId, this.mostTasks, this.closing.signal);
    if (this.data) this.draw();
  }

  showTasks() {
    this.use(() => this.loadTasks());
  }

  /** Follow the group's changes: show its standing at once, and load the rest after a pause. */
  follow() {
    if (this.day) return;
    this.subscription ??= new Subscription(SUBSCRIPTION, { group: this.groupId }, {
      data: ({ group }) => this.onStanding(group),
      state: (state) => (state.kind === 'signed-out' ? this.shell.signedOut() : this.shell.live(state)),
    });
  }

  onStanding(standing) {
    if (this.day || !this.data) return;
    const { group } = this.data;
    const isNew = !group !== !standing || Object.keys(standing ?? {}).some((name) => standing[name] !== group[name]);
    if (group && standing) Object.assign(group, standing);
    if (isNew) this.draw();
    if (this.pages > 1 || this.later) return;
    const wait = Math.max(isNew ? 0 : MIN_INTERVAL_MS, this.requestedAt + MIN_INTERVAL_MS - performance.now());
    this.later = setTimeout(() => this.load(), wait);
  }

  listen() {
    listenForTasks(this, () => this.groupId, (key) => (key === 'fading' ? this.data.group.itemsFading
      : hardOf(this.data.group)));
    this.on('change', ({ target: { name, value, validity } }) => {
      if (name === 'order') this.sort(value, false);
      if (name === 'since' && validity.valid) this.count({ since: value || null });
      if (name === 'on' && validity.valid) this.count({ day: value || null, since: null });
    });
    this.on('input', ({ target: { name, value } }) => name === 'learner' && this.search(value.trim().toLowerCase()));
    this.on('click', ({ target }) => {
      const { order, weeks, risk } = target.closest('[data-order], [data-weeks], [data-risk]')?.dataset ?? {};
      if (order) this.sort(order, order === this.order && 'by' in ORDERS[order] && !this.isReversed);
      if (weeks) this.count({ weeks: Number(weeks), since: null });
      if (risk) this.filter(risk === 'true');
      if (target.closest('[data-see]')) this.see();
      if (target.closest('[data-more]')) this.load(true);
      if (target.closest('[data-tasks]')) {
        this.mostTasks = MOST;
        this.use(() => this.loadTasks());
      }
      if (target.closest('[data-csv]')) this.save();
      if (target.closest('[data-copy]')) this.copy();
      const { print } = target.closest('[data-print]')?.dataset ?? {};
      if (print) printOnly(print);
    });
  }

  sort(order, isReversed) {
    this.select({ order, isReversed });
    if (!ORDERS[order].by || !this.isComplete()) this.load();
  }

  /** Count another range, or as of another day. Until these numbers are there, no others are shown or saved. */
  count(range) {
    this.keep(this.hash);
    this.isCounting = true;
    if ('day' in range) Object.assign(this, { data: null, rows: [] });
    for (const row of this.rows) row.since = null;
    this.select(range);
    this.load();
  }

  search(text) {
    this.text = text;
    this.draw();
    this.shell.announce(t('group.learners', { count: this.shown().length }));
    if (this.needsAll()) this.load(true);
  }

  filter(isFiltered) {
    this.select({ isFiltered });
    if (!this.isComplete()) this.load();
  }

  see() {
    const title = this.element.querySelector('#learners');
    title.scrollIntoView();
    title.focus({ preventScroll: true });
  }

  /** Select an order, a range or a filter; the address keeps them. */
  select(selected) {
    Object.assign(this, selected);
    const parameters = new URLSearchParams();
    if (this.order !== 'urgent') parameters.set('order', this.order);
    if (this.isReversed) parameters.set('reverse', '1');
    if (this.isFiltered) parameters.set('risk', '1');
    if (this.since) parameters.set('since', this.since);
    else if (this.weeks !== 1) parameters.set('weeks', this.weeks);
    if (this.day) parameters.set('on', this.day);
    const query = parameters.size ? `?${parameters}` : '';
    history.replaceState(null, '', `#/group/${encodeURIComponent(this.groupId)}${query}`);
    this.hash = location.hash;
    this.draw();
  }

  /** What is counted: whole weeks, the last seven days or, with `since`, the days from this one to today. */
  get range() {
    return { weeks: this.weeks, since: this.since };
  }

  /** The first day of the range; null for the last days of each learner, and while the weeks are unknown. */
  get from() {
    return this.since ?? (this.weeks === 1 ? null : this.data?.group?.weeks.slice(-this.weeks)[0].start ?? null);
  }

  get apiOrder() {
    return (!this.isReversed && ORDERS[this.order].api) || 'URGENCY';
  }

  isComplete() {
    return !this.data.learners.pageInfo.hasNextPage;
  }

  /** True if what is selected needs learners of further pages: the API has no such order or filter. */
  needsAll() {
    const { group } = this.data;
    const lacksRisks = this.isFiltered && this.rows.filter((row) => row.atRisk).length < group?.atRisk;
    return !this.isComplete() && (lacksRisks || this.since || this.text || this.isReversed || !ORDERS[this.order].api);
  }

  shown() {
    const rows = this.rows.filter(({ atRisk, userId, displayName }) => (atRisk || !this.isFiltered) &&
      [userId, displayName ?? ''].some((name) => name.toLowerCase().includes(this.text)));
    const { by, isDescending = false } = ORDERS[this.order];
    if (!by || !this.isComplete()) return rows;
    const keys = new Map(rows.map((row) => [row, by(row, this.range)]));
    const sign = isDescending === this.isReversed ? 1 : -1;
    const compare = (a, b) => {
      if (a == null || b == null) return (a == null) - (b == null);
      return sign * (typeof a === 'string' ? a.localeCompare(b) : a - b);
    };
    return rows.toSorted((one, other) => compare(keys.get(one), keys.get(other)));
  }

  async copy() {
    const words = this.data.group.itemsFading.map(({ headword, itemId }) => visible(headword) ?? itemId);
    try {
      await navigator.clipboard.writeText(words.join('\n'));
    } catch {
      return; // the user does not allow it
    }
    this.hasCopied = true;
    this.draw();
    this.shell.announce(t('group.copied'));
  }

  orderName() {
    const order = t(`group.orders.${this.order}`);
    return this.isReversed ? t('group.reversed', { order }) : order;
  }

  selection() {
    return [
      this.day && t('group.asOf', { day: longDay(this.day) }), nameOfRange(this.range), this.orderName(),
      this.isFiltered && t('group.atRisk'),
    ].filter(Boolean);
  }

  /** Save what the table shows as a CSV file, with all learners of the group. Its name says what is selected. */
  async save() {
    const { groupId } = this;
    try {
      while (!this.isCounting && !this.isComplete()) {
        const before = this.rows.length;
        await this.load(true);
        if (this.rows.length === before) return;
      }
    } catch (problem) {
      this.fail(problem);
      return;
    }
    if (this.isCounting) return;
    const name = [this.data.group.name ?? groupId, ...this.selection(), localDate(now())].join(' - ');
    const rows = this.shown().map((row) => fieldsOf(row, this.range));
    const columns = fieldsOf({ riskReasons: [], weeks: this.data.group.weeks }, this.range).map(([column]) => column);
    saveCsv(name, columns, rows.map(Object.fromEntries));
  }

  draw() {
    const isKnown = Boolean(this.data);
    const problem = this.problem && problemCard(this.problem, this.retry, isKnown);
    this.element.setAttribute('aria-busy', String(!isKnown && !this.problem));
    show(this.element, this.head(), this.dated(), isKnown ? this.sections() : [], problem);
    this.loads.watch(this.element);
    if (isKnown) this.shell.arrived();
  }

  head() {
    const known = nameOf('group', this.groupId);
    const name = this.data?.group?.name ?? (known === this.groupId ? null : known);
    const ranges = RANGES.map((weeks) => h('button', {
      type: 'button', 'data-weeks': weeks, 'aria-pressed': String(weeks === this.weeks && !this.since),
    }, nameOfRange({ weeks })));
    return h('header', { class: 'head', 'data-key': 'head' },
      h('div', null,
        session.groups().length !== 1 && h('a', { class: 'back', href: '#/group' }, t('view.group')),
        h('h1', { translate: 'no' }, name ?? t('way.title', { group: this.groupId })),
        name && findAlike(session.groups().map((group) => nameOf('group', group))).has(name)
          && h('p', { class: 'of', translate: 'no' }, this.groupId),
        h('p', { class: 'printed' }, join(longDay(localDate(now())), this.selection()))),
      (this.data ? this.data.group : this.isCounting) && [
        h('div', { class: 'switch', role: 'group', 'aria-label': t('group.ranges') }, ranges),
        h('label', { class: 'control since' }, h('span', null, t('group.sinceDay')),
          h('input', {
            type: 'date', name: 'since', min: firstDay(this.day), max: this.day ?? lastDay(), value: this.since,
          })),
        (this.day || !this.data || this.data.group.members <= MAX_PAST) && h('label', { class: 'control since' },
          h('span', null, t('frame.day')),
          h('input', { type: 'date', name: 'on', min: '2000-01-01', max: dateOf(now()), value: this.day })),
      ]);
  }

  sections() {
    const { group, learners } = this.data;
    if (!group) {
      return h('section', { class: 'card wide', 'data-key': 'empty' },
        h('p', null, learners ? t('group.empty') : t('group.tooMany', { count: MAX_PAST })),
        this.day && h('a', { class: 'button quiet', href: withParameter(this.hash, 'on', null) }, t('then.back')));
    }
    const address = (...parts) => `#/group/${[this.groupId, ...parts].map(encodeURIComponent).join('/')}`;
    const link = ({ itemId }) => address(itemId);
    const { rows, range } = this;
    const alike = findAlike(rows.map(({ displayName }) => displayName));
    const name = ({ userId, displayName }) =>
      linkTo(
        withParameter(`#/learner/${encodeURIComponent(userId)}`, 'group', this.groupId), userId, displayName, alike);
    return [
      this.day && h('p', { class: 'note', 'data-key': 'past' }, t('group.past', { day: longDay(this.day) })),
      standing(group, range, rows, this.isComplete(), name),
      h('div', { class: 'cards first', 'data-key': 'first' },
        risk(group, rows, name), group.itemsFading && toRepeat(group.itemsFading, link, this.hasCopied)),
      !this.day && h('div', { class: 'tools', 'data-key': 'text' },
        h('a', { class: 'button quiet', href: `${address()}?text=1` }, t('view.text'))),
      !this.day && this.tasks && tasks(this.tasks, (list) => address('task', list), name),
      this.learners(name),
      h('div', { class: 'cards', 'data-key': 'cards' },
        !this.day && skills(this.skills), trend(group),
        group.itemsFading && [expected(group), hardest(hardOf(group), link)]),
    ];
  }

  learners(name) {
    const { group, learners: { totalCount, pageInfo } } = this.data;
    const finder = h('label', { class: 'control' }, h('span', null, t('group.find')),
      h('input', { type: 'search', name: 'learner', maxlength: 200, autocomplete: 'off' }));
    const order = h('label', { class: 'control' }, h('span', null, t('items.order')),
      h('select', { name: 'order' }, Object.keys(ORDERS).map((value) =>
        h('option', { value, selected: value === this.order },
          value === this.order ? this.orderName() : t(`group.orders.${value}`)))));
    const filter = h('div', { class: 'switch', role: 'group', 'aria-label': t('group.filter') },
      [[false, t('group.everyone'), totalCount, 'members'], [true, t('group.atRisk'), group.atRisk, 'risk']]
        .map(([isRisk, label, count, same]) => h('button', {
          type: 'button', 'data-risk': String(isRisk), 'aria-pressed': String(isRisk === this.isFiltered),
        }, label, ' ', h('b', { 'data-same': same }, number(count)))));
    const header = (column, text) =>
      h('button', { type: 'button', 'data-order': column, 'data-sort': this.sortOf(column) }, text);
    const headers = [
      header('name', t('group.learner')), header('urgent', t('group.atRisk')), header('inactive', t('group.last')),
      header('streak', t('group.streak')), header('goal', t('then.goal')), header('answers', t('week.answers')),
      header('accuracy', t('week.right')), header('learned', t('group.learned')),
      header('expected', t('expected.title')), header('change', t('group.trend')),
    ];
    const most = Math.max(1, ...this.rows.flatMap((row) => row.weeks.map((week) => week.answers)));
    const rows = this.shown().map((row) => learnerRow(row, this.range, most, name));
    return h('section', { class: 'card wide', 'aria-labelledby': 'learners', 'data-key': 'learners' },
      h('div', { class: 'head' },
        h('h2', { id: 'learners', tabindex: -1, 'data-same': 'members' }, t('group.learners', { count: totalCount })),
        filter, finder, order,
        h('details', { class: 'about' }, h('summary', { 'aria-label': t('group.about') }, 'ⓘ'), note(sentences(
          this.since ? t('group.lastSince', { day: longDay(this.since) })
            : t(this.weeks === 1 ? 'group.lastDays' : 'group.lastWeeks', { weeks: this.weeks }),
          t('group.goalMeaning'), t('group.changeMeaning'), t('group.urgentMeaning'), t('group.praiseMeaning'))))),
      rows.length > 0 ? h('div', { class: 'sideways' }, table(headers, rows, 'stacking dense'))
        : h('p', null, t(this.text ? 'group.noLearner' : 'group.noRisk')),
      h('div', { class: 'tools' },
        pageInfo.hasNextPage && button('more', 'more', t('items.more')),
        totalCount > 0 && !this.isCounting
          && [button('csv', 'csv', t('group.save')), button('print', 'all', t('group.print'))]));
  }

  sortOf(name) {
    if (name !== this.order) return null;
    if (name === 'urgent') return 'other';
    return (ORDERS[name].isDescending ?? false) === this.isReversed ? 'ascending' : 'descending';
  }
}

/** The last microsecond of a day, as most members of a group have it. */
async function findEnd(group, day, signal) {
  const { data: { learners } } = await runQuery(MEMBERS, { group }, signal);
  const end = await commonEnd(learners.edges.map(({ node }) => node.userId), day, signal);
  return microsecondBefore(end ?? `${dayAfter(day, 1)}T00:00:00Z`);
}

/** The days that can be chosen, up to a past day or the present: the last one has begun for all learners. */
const firstDay = (day) => dateOf((day ? instant(day) : now()) - MAX_DAYS * DAY_MS);
const lastDay = () => dateOf(now() - DAY_MS / 2);

const nameOfRange = ({ weeks, since }) =>
  (since ? t('group.since', { day: longDay(since) }) : t('group.range', { count: 7 * weeks }));

/** The answers of a range, and the rate of correct ones: since a day, of the last days, or of whole weeks. */
function rangeOf({ answersLast7Days, accuracyLast7Days, weeks, since }, range) {
  if (range.since) return { answers: since?.answers, rate: since?.accuracyRate };
  const count = range.weeks;
  if (count === 1) return { answers: answersLast7Days, rate: accuracyLast7Days };
  const some = weeks.slice(-count);
  const answers = sum(some.map((week) => week.answers));
  return { answers, rate: answers ? sum(some.map(rightOf)) / answers : null };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const rightOf = ({ answers, accuracyRate }) => Math.round(answers * (accuracyRate ?? 0));

/** The same of all learners; unknown while that of a learner is. */
function totalOf(rows, range) {
  const ranges = rows.map((row) => rangeOf(row, range));
  if (ranges.some(({ answers }) => answers == null)) return {};
  const answers = sum(ranges.map((one) => one.answers));
  return { answers, rate: answers ? sum(ranges.map((one) => one.answers * (one.rate ?? 0))) / answers : null };
}

function standing(group, range, rows, isComplete, name) {
  const { answers, rate } = range.since ? totalOf(rows, range) : rangeOf(group, range);
  const isWeek = !range.since && range.weeks === 1;
  const active = isWeek ? group.activeLast7Days : rows.filter((row) => rangeOf(row, range).answers > 0).length;
  const figures = [
    [t('group.members'), h('span', { 'data-same': 'members' }, number(group.members))],
    (isWeek || isComplete) && [t(isWeek ? 'group.active' : 'group.studied'), number(active)],
    [t('week.answers'), number(answers)],
    [t('week.right'), percent(rate)],
  ].filter(Boolean);
  const now = rows.filter(isStudying);
  return h('section', { class: 'card wide', 'aria-label': nameOfRange(range), 'data-key': 'standing' },
    h('dl', { class: 'figures' }, figures.map(([term, value]) =>
      h('div', null, h('dt', null, term), h('dd', null, value)))),
    now.length > 0 && h('div', { class: 'now' }, mark('good', t('group.now', { count: now.length })),
      h('ul', { class: 'repeat' }, now.map((row) => h('li', null, name(row))))));
}

const isStudying = ({ lastAnsweredAt }) => lastAnsweredAt && now() - Date.parse(lastAnsweredAt) < STUDYING_MS;

const nameOfWeek = ({ start, isOpen }, format = shortDay) =>
  (isOpen ? t('weeks.soFar', { day: format(start) }) : format(start));

const textOf = (week) => t('group.week', {
  day: nameOfWeek(week), count: week.answers, share: percent(week.accuracyRate),
});

function trend({ weeks, answersLast7Days }) {
  const isCounting = answersLast7Days > sum(weeks.slice(-2).map((week) => week.answers));
  const top = roundUp(Math.max(...weeks.map((week) => week.answers)));
  const entries = weeks.map((week) => ({
    parts: answerParts(rightOf(week), week.answers, week.isOpen), title: textOf(week), key: week.start,
  }));
  const difference = change(weeks);
  return card('trend', t('group.byWeek'), 'wide',
    isCounting && mark('wait', t('group.counting')),
    note(t(difference ? 'group.lastWeek' : 'group.sameWeek',
      { count: lastWeeks(weeks)[1].answers, change: signed(difference) })),
    chart(columns(entries, top, t('weeks.chart', { count: weeks.length })), [0, top], number,
      axis(dateLabels(weeks.map((week) => week.start)), weeks.length)),
    legend([['right', t('weeks.right')], ['wrong', t('weeks.wrong')],
      ...(weeks.at(-1).isOpen ? [openKey()] : [])]),
    unfolded(t('group.byWeek'), table(
      [t('weeks.of'), t('group.studied'), t('week.answers'), t('week.right')],
      weeks.map((week) => [
        nameOfWeek(week), number(week.activeMembers), number(week.answers), percent(week.accuracyRate),
      ]))));
}

/** A learner's answers by week as a small chart; `most`, at its upper edge, is the same for all learners. */
function spark(weeks, most) {
  const label = t('group.trendOf', { answers: join(...weeks.map((week) => number(week.answers))) });
  const width = 100 / weeks.length;
  return s('svg', { class: 'spark', role: 'img', 'aria-label': label }, weeks.map((week, index) => {
    const height = week.answers ? Math.max(8, (100 * week.answers) / most) : 0;
    return [
      s('rect', { class: 'rule', x: `${width * (index + 0.1)}%`, width: `${0.8 * width}%`, y: '96%', height: '4%' }),
      s('rect', {
        class: week.isOpen ? 'right unfinished' : 'right',
        x: `${width * (index + 0.1)}%`, width: `${0.8 * width}%`, y: `${100 - height}%`, height: `${height}%`,
      }, s('title', null, textOf(week))),
    ];
  }));
}

/** Numbers that are zero are left out. */
function learnerRow(row, range, most, name) {
  const { lastStudyDate, currentStreak, totalItemsLearned, expectedKnown, riskReasons } = row;
  const { answers, rate } = rangeOf(row, range);
  const some = (value) => value > 0 && number(value);
  return [
    name(row),
    riskReasons.map((reason) => [h('span', { class: 'chip bad' }, t(`group.reasons.${reason}`)), ' ']),
    lastStudyDate ? nearDay(lastStudyDate, localDate(now())) : t('group.never'),
    currentStreak > 0 && t('streak.days', { count: currentStreak }),
    goalOf(row),
    some(answers), rate != null && percent(rate), some(totalItemsLearned), some(floor(expectedKnown)),
    [spark(row.weeks, most), h('span', { class: 'change' }, change(row.weeks) !== 0 && signed(change(row.weeks)))],
  ];
}

const goalOf = ({ since }) => (since?.daysWithGoal
  ? t('group.goalOf', { met: since.daysMet, count: since.daysWithGoal }) : null);

/** The same as fields of a file: pairs of a column's name and its value. */
function fieldsOf(row, range) {
  const { answers, rate } = rangeOf(row, range);
  const inRange = (name) => t(range.since ? 'group.inSince' : 'group.inRange', { name, range: nameOfRange(range) });
  return [
    [t('group.learner'), row.displayName], [t('group.idOf'), row.userId],
    [t('group.atRisk'), join(row.riskReasons.map((reason) => t(`group.reasons.${reason}`)))],
    [t('group.last'), row.lastStudyDate], [t('group.streak'), row.currentStreak],
    [inRange(t('then.goal')), goalOf(row)],
    [inRange(t('week.answers')), answers], [inRange(t('week.right')), rate == null ? null : percent(rate)],
    [t('group.learned'), row.totalItemsLearned],
    [t('expected.title'), floor(row.expectedKnown)],
    [t('group.changeOf'), change(row.weeks)],
    ...row.weeks.map((week) => [t('group.answersIn', { day: nameOfWeek(week, longDay) }), week.answers]),
  ];
}

function printOnly(part) {
  document.body.dataset.printed = part;
  addEventListener('afterprint', () => delete document.body.dataset.printed, { once: true });
  print();
}

/** As the order by urgency: the last study day is the newest, then wrong answers are most. */
const byUrgency = (one, other) => (other.lastStudyDate ?? '').localeCompare(one.lastStudyDate ?? '')
  || wrongOf(other) - wrongOf(one);
const wrongOf = ({ answersLast7Days, accuracyLast7Days }) => answersLast7Days * (1 - (accuracyLast7Days ?? 0));

/** How many learners are at risk, and why; a learner may have two reasons. The first names. */
function risk(group, rows, name) {
  const first = rows.filter(({ atRisk }) => atRisk).toSorted(byUrgency).slice(0, FIRST);
  return panel('risk', t('group.atRisk'), null,
    h('p', { class: 'figure' },
      h('strong', { 'data-same': 'risk' }, number(group.atRisk)),
      h('span', { 'data-same': 'members' }, t('group.ofMembers', { count: group.members }))),
    pairs(Object.entries(RISKS).filter(([name]) => group[name]).map(([name, reason]) =>
      [t(`group.reasons.${reason}`), number(group[name])])),
    first.length > 0 && h('ul', { class: 'repeat' }, first.map((row) => h('li', null, name(row)))),
    note(t('group.riskMeaning')),
    group.atRisk > 0 && h('div', { class: 'tools' },
      h('button', { type: 'button', class: 'button quiet', 'data-risk': 'true', 'data-see': true },
        t('group.seeRisk'))));
}

const toRepeat = (items, link, hasCopied) => panel('fading', t('group.fading'), null,
  items.length > 0 && h('ul', { class: 'repeat' }, items.map((item) => h('li', null,
    h('a', { href: link(item) }, word(item)), level(item), ' ',
    h('span', { class: 'of' }, t('group.fadingOf', { learners: item.learners, count: item.answered }))))),
  note(t(items.length ? 'group.fadingMeaning' : 'group.noFading')),
  items.length > 0 && h('div', { class: 'tools' },
    setDoor('fading', items), button('copy', 'copy', t(hasCopied ? 'group.copied' : 'group.copy')),
    button('print', 'words', t('group.printWords'))));

function expected({ members, knowledge }) {
  return card('knowledge', t('expected.now'), 'wide',
    knowledge.items > 0 && expectedOf(knowledge),
    note(t(knowledge.items ? 'group.knowledgeMeaning' : 'knowledge.none', { count: members })));
}

const hardOf = ({ hardestItems }) => hardestItems.filter(({ accuracyRate }) => accuracyRate <= HARD);

const hardest = (hard, link) => card('hardest', t('group.hardest'), 'wide',
  note(t(hard.length ? 'group.hardestMeaning' : 'group.noHardest')),
  hard.length > 0 && table(
    [t('items.item'), t('week.right'), t('group.learnersOf'), t('week.answers')],
    hard.map((item) => [
      [h('a', { href: link(item) }, word(item)), level(item)], h('b', null, percent(item.accuracyRate)),
      number(item.learners), number(item.answers),
    ]), 'stacking'),
  h('div', { class: 'tools' }, setDoor('hardest', hard)));
