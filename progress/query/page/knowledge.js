// The view "What I know": how many items the learner is expected to know now and on the day of an exam, and which items
// are fading.

import { bar } from './charts.js';
import { h } from './dom.js';
import { dayAfter, longDay, number, percent } from './format.js';
import { sentences, t } from './i18n.js';
import { due, expectedOn, itemList, itemPage, level, word } from './items.js';
import { card, expectedOf, note } from './layout.js';
import { View } from './problems.js';
import * as session from './session.js';
import { ask } from './then.js';

const MAX_DAYS_AHEAD = 3_650;

const COUNTS = 'on items expected fading levels { level items expected fading }';
const QUERY = `query Knowledge($user: ID) {
  knowledge(userId: $user) { ${COUNTS} }
  fading: itemStats(userId: $user, filter: FADING, orderBy: RECALL, first: 10) {
    totalCount
    edges { node { itemId headword language level dueAt estimatedRecall } }
  }
}`;
const EXAM_QUERY = `query Exam($user: ID, $on: Date!) {
  knowledge(userId: $user, on: $on) { ${COUNTS} }
}`;

export class Knowledge extends View {
  /** `user` is null for the caller's own knowledge. */
  constructor(element, user, shell) {
    super(element, shell, { user, exam: null });
    this.key = `exam-day:${user ?? session.learner()}`;
    this.day = read(this.key);
    this.on('change', ({ target }) => target.name === 'exam' && target.validity.valid && this.pick(target.value));
    this.load();
  }

  close() {
    super.close();
    this.request?.abort();
  }

  async load() {
    try {
      const { data } = await ask(QUERY, { user: this.user }, this.closing.signal);
      this.data = data;
      await this.loadExam();
    } catch (problem) {
      if (!this.closing.signal.aborted) this.fail(problem);
    }
  }

  /** Load what remains on the day of the exam, unless this day has passed. A newer request aborts an older one. */
  async loadExam() {
    this.request?.abort();
    const { signal } = (this.request = new AbortController());
    try {
      const exam = this.isAhead ? await ask(EXAM_QUERY, { user: this.user, on: this.day }, signal) : null;
      if (signal.aborted) return;
      this.exam = exam?.data.knowledge ?? null;
      this.succeed();
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    }
  }

  get isAhead() {
    const { on } = this.data.knowledge;
    return this.day !== null && on <= this.day && this.day <= dayAfter(on, MAX_DAYS_AHEAD);
  }

  /** Select the day of the exam, which the browser keeps; an empty text means none. */
  pick(day) {
    this.day = day || null;
    store(this.key, this.day);
    this.loadExam();
  }

  sections() {
    const { knowledge, fading } = this.data;
    const title = h('header', { 'data-key': 'title' },
      h('h1', null, this.user ? t('knowledge.whose', { user: this.user }) : t('knowledge.title')));
    if (!knowledge.items) {
      return [title, h('section', { class: 'card wide', 'data-key': 'none' }, note(t('knowledge.none')))];
    }
    return [title, h('section', { 'aria-labelledby': 'estimates', 'data-key': 'estimates' },
      h('h2', { id: 'estimates', class: 'unseen' }, t('knowledge.estimates')),
      h('div', { class: 'cards' },
        expectedCard(knowledge), this.examCard(), fadingCard(fading, this.user), limits()))];
  }

  examCard() {
    const { on, expected: today } = this.data.knowledge;
    const { exam, day, isAhead } = this;
    const isPassed = day !== null && !isAhead;
    return card('exam', t('exam.title'), null,
      h('label', { class: 'control' }, h('span', null, t('exam.day')),
        h('input', {
          type: 'date', name: 'exam', min: on, max: dayAfter(on, MAX_DAYS_AHEAD), value: isAhead ? day : '',
          autocomplete: 'off',
        })),
      exam && [
        ...expectedOf(exam),
        note(sentences(
          t('exam.remains', { day: longDay(exam.on) }), fewer(Math.round(today) - Math.round(exam.expected)))),
        levelTable(exam),
      ],
      !exam && note(isPassed ? t('exam.passed', { day: longDay(day) }) : t('exam.meaning')),
      note(t('exam.kept')));
  }
}

const fewer = (count) => count > 0 && t('exam.fewer', { count });

function expectedCard(knowledge) {
  return card('now', expectedOn(knowledge.on), null,
    expectedOf(knowledge), note(t('knowledge.meaning')), levelTable(knowledge), note(t('knowledge.fadingMeaning')));
}

const levelTable = ({ levels }) => h('table', { class: 'shares' },
  h('thead', null, h('tr', null,
    h('th', { scope: 'col' }, t('levels.level')),
    h('th', { scope: 'col', class: 'grow' }, t('knowledge.expected')),
    h('th', { scope: 'col', class: 'end' }, t('knowledge.fading')))),
  h('tbody', null, levels.map((row) => h('tr', null,
    h('th', { scope: 'row' }, row.level === 'UNKNOWN' ? t('levels.none') : row.level),
    h('td', { class: 'grow' },
      bar([['right', row.expected]], row.items),
      h('span', { class: 'of' }, t('knowledge.share', { count: row.items, expected: Math.round(row.expected) }))),
    h('td', { class: 'end' }, number(row.fading))))));

function fadingCard({ totalCount, edges }, user) {
  const rows = edges.map((edge) => edge.node);
  return card('fading', t('fading.title'), null,
    note(t(rows.length ? 'fading.meaning' : 'fading.none')),
    rows.length > 0 && h('table', { class: 'rows items fading' },
      h('thead', null, h('tr', null,
        h('th', { scope: 'col' }, t('items.item')),
        h('th', { scope: 'col' }, t('items.recall')),
        h('th', { scope: 'col', class: 'end' }, t('items.due')))),
      h('tbody', null, rows.map((item) => h('tr', { 'data-key': item.itemId },
        h('th', { scope: 'row' }, h('a', { href: itemPage(item.itemId, user) }, word(item)), level(item)),
        h('td', null, h('div', { class: 'recall' },
          bar([['right', item.estimatedRecall]], 1), h('b', null, percent(item.estimatedRecall)))),
        h('td', { class: 'end' }, due(item)))))),
    totalCount > rows.length && h('div', { class: 'tools' },
      h('a', { class: 'button quiet', href: itemList(user, { filter: 'fading' }) },
        t('fading.all', { count: totalCount }))));
}

/** What the estimate does not know. */
const limits = () => card('trust', t('trust.title'), null,
  h('ul', { class: 'facts' }, ['sees', 'wrong', 'falls'].map((name) => h('li', null, t(`trust.${name}`)))));

/** A text that the browser keeps; null without one, or if the browser blocks storage. */
function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Let the browser keep a text; null removes it. A browser that blocks storage keeps nothing. */
function store(key, text) {
  try {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // The day is still used until the user leaves the view.
  }
}
