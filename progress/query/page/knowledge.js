// The view "What I know": the expected number over time and on the day of an exam, fading items, and how sure this is.

import { axis, bar, chart, columns, legend, dateLabels, roundUp, rules } from './charts.js';
import { h, s } from './dom.js';
import { clock, dayAfter, floor, longDay, number, percent, recallShare } from './format.js';
import { STAGES } from './freshness.js';
import { stageLegend } from './how_far.js';
import { join, sentences, t } from './i18n.js';
import { appLink, due, expectedOn, itemList, itemPage, level, word } from './items.js';
import { chosenLanguage, languageSwitch, listenForLanguage, ofAllLanguages } from './languages.js';
import { card, expectedOf, note, stamp, table, unfolded } from './layout.js';
import { lines } from './line_charts.js';
import { nameOf } from './names.js';
import { byMonth } from './periods.js';
import { View } from './problems.js';
import { MAX_YEARS, range } from './query.js';
import * as session from './signed_in.js';
import { ask, pastDay } from './past_day.js';

const MAX_DAYS_AHEAD = 3_650;
const MAX_DAYS_TESTED = 365; // the calibration covers the tests of so many days
const NEAR = 0.15; // lines that differ by less than this share of the whole nearly coincide
const FLAT = 0.02; // a line that moves by less than this share of the whole is flat

const COUNTS = 'on items expected fading levels { level items expected fading }';
const NOW = `
  languages(userId: $user) { language kinds }
  knowledge(userId: $user, language: $language) { ${COUNTS} }
  fading: itemStats(userId: $user, language: $language, filter: FADING, orderBy: RECALL, first: 10) {
    totalCount
    edges { node { itemId headword language level own dueAt dueOn inPlay estimatedRecall } }
  }
  today: dueForecast(userId: $user, days: 1) { date }
  distribution: itemDistribution(userId: $user) { measure atLeast below items }`;
const COURSE = `
  curve: knowledgeCurve(userId: $user, from: $from, to: $to) { start end items expected }
  calibration(userId: $user) { tests logLoss constantLogLoss bins { from to tests predicted recalled } }`;
const QUERY = `query Knowledge($user: ID, $language: String, $from: Date!, $to: Date!) {${NOW}${COURSE}\n}`;
const PAST_QUERY = `query Knowledge($user: ID, $language: String) {${NOW}\n}`; // the course has no past
const EXAM_QUERY = `query Exam($user: ID, $language: String, $on: Date!) {
  knowledge(userId: $user, language: $language, on: $on) { ${COUNTS} }
}`;

export class Knowledge extends View {
  keeps = ['data', 'exam'];

  constructor(element, user, shell) {
    super(element, shell, { user, exam: null });
    this.key = `exam-day:${user ?? session.learner()}`;
    this.day = session.read(this.key, 'localStorage');
    this.on('change', ({ target }) => {
      const { valid, rangeUnderflow } = target.validity;
      if (target.name === 'exam' && (valid || rangeUnderflow)) this.pick(target.value); // an earlier day is refused
    });
    this.on('click', ({ target }) => target.closest('[data-refresh]') && this.load());
    listenForLanguage(this, () => this.load());
    this.load();
    this.keepTime();
  }

  async load() {
    const { user } = this;
    const language = chosenLanguage();
    const at = Date.now();
    const isAgain = this.data !== null;
    try {
      const { data } = await (pastDay()
        ? ask(PAST_QUERY, { user, language }, this.closing.signal)
        : ask(QUERY, { user, language, ...range(MAX_YEARS) }, this.closing.signal));
      if (language !== chosenLanguage()) return; // a newer request is on its way
      this.data = { ...data, language, at };
      await this.loadExam();
      if (isAgain) this.shell.announce(t('stamp.at', { time: clock(at) }));
    } catch (problem) {
      this.fail(problem);
    }
  }

  /** Load what remains on the day of the exam, unless this day has passed. A newer request aborts an older one. */
  async loadExam() {
    const { language } = this.data;
    return this.attempt(async (signal) => {
      const exam = this.isAhead ? await ask(EXAM_QUERY, { user: this.user, language, on: this.day }, signal) : null;
      if (signal.aborted) return;
      this.exam = exam?.data.knowledge ?? null;
      this.succeed();
    });
  }

  get isAhead() {
    const { on } = this.data.knowledge;
    return this.day !== null && on <= this.day && this.day <= dayAfter(on, MAX_DAYS_AHEAD);
  }

  pick(day) {
    this.day = day || null;
    session.store(this.key, this.day, 'localStorage'); // without it, the day is used until the user leaves the view
    this.loadExam();
  }

  sections() {
    const {
      knowledge, fading, distribution, curve, calibration, languages, language, today: [{ date: today }],
    } = this.data;
    const choice = languageSwitch(languages, language);
    const ofAll = () => ofAllLanguages(languages, language);
    const title = h('header', { 'data-key': 'title' },
      h('h1', null, this.user ? t('expected.whose', { user: nameOf('learner', this.user) }) : t('view.knowledge')),
      stamp(this.data.at));
    if (!knowledge.items) {
      return [title, h('section', { class: 'card wide', 'data-key': 'none' }, choice, note(t('knowledge.none')))];
    }
    return [title, h('section', { 'aria-labelledby': 'estimates', 'data-key': 'estimates' },
      h('h2', { id: 'estimates', class: 'unseen' }, t('knowledge.estimates')),
      h('div', { class: 'cards' }, choice,
        expectedCard(knowledge),
        h('div', { class: 'stack', 'data-key': 'beside' }, this.examCard(), trust(calibration, ofAll)),
        course(curve, ofAll), recalls(distribution, ofAll), intervals(distribution, ofAll),
        fadingCard(fading, today, this.user)))];
  }

  examCard() {
    const { on, expected: today } = this.data.knowledge;
    const { exam, day, isAhead } = this;
    const isPassed = day !== null && !isAhead;
    const fewer = exam && floor(today) - floor(exam.expected);
    return card('exam', t('exam.title'), null,
      h('label', { class: 'control' }, h('span', null, t('exam.day')),
        h('input', {
          type: 'date', name: 'exam', min: on, max: dayAfter(on, MAX_DAYS_AHEAD), value: isAhead ? day : '',
          autocomplete: 'off',
        })),
      exam && [
        ...expectedOf(exam),
        note(sentences(
          t('exam.remains', { day: longDay(exam.on) }), fewer > 0 && t('exam.fewer', { count: fewer }),
          exam.on > dayAfter(on, MAX_DAYS_TESTED) && t('exam.far'))),
        levelTable(exam),
      ],
      !exam && note(isPassed ? t('exam.passed', { day: longDay(day) }) : t('exam.meaning')),
      note(t('exam.kept')));
  }
}

function expectedCard(knowledge) {
  return card('now', expectedOn(knowledge.on), null,
    expectedOf(knowledge), note(t('knowledge.meaning')), levelTable(knowledge),
    hasLevel(knowledge) && note(t('knowledge.fadingMeaning')));
}

const hasLevel = ({ levels }) => levels.some(({ level: name }) => name !== 'UNKNOWN');

const levelTable = ({ levels }) => hasLevel({ levels }) && table(
  [t('levels.level'), t('expected.title'), t('glossary.words.fading')],
  levels.map((row) => [
    row.level === 'UNKNOWN' ? t('levels.none') : row.level,
    [bar([['right', row.expected]], row.items),
      h('span', { class: 'of' }, t('knowledge.share', { count: row.items, expected: floor(row.expected) }))],
    number(row.fading),
  ]), 'shares');

/**
 * The curve since the first answer; nothing in the past. Lines that nearly coincide become their gap, and a flat gap a
 * sentence. `ofAll` says that it counts all languages.
 */
function course(weeks, ofAll) {
  if (!weeks) return null;
  if (weeks.length < 2) return card('curve', t('curve.title'), 'wide', note(t('curve.short')));
  const curve = byMonth(weeks);
  const gaps = curve.map(({ items, expected }) => items - floor(expected));
  const most = Math.max(...curve.map(({ items }) => items));
  const isNear = Math.max(...gaps) < NEAR * most;
  if (isNear && Math.max(...gaps) - Math.min(...gaps) < FLAT * most) {
    return card('curve', t('curve.title'), 'wide', ofAll(), note(t('curve.flat', { count: gaps.at(-1) })));
  }
  const shown = isNear ? [['mature', 'gap', gaps]]
    : [['answered', 'items', curve.map(({ items }) => items)],
      ['mature', 'expected', curve.map(({ expected }) => expected)]];
  const starts = curve.map((week) => week.start);
  return card('curve', t('curve.title'), 'wide', ofAll(),
    note(t(isNear ? 'curve.near' : 'curve.meaning')),
    lines(shown.map(([name, , values]) => ({ name, values })),
      [0, roundUp(isNear ? Math.max(...gaps) : most)], t('curve.chart'), (count) => number(floor(count)),
      axis(dateLabels(starts), starts.length)),
    legend(shown.map(([name, field]) => [name, t(`curve.${field}`)])),
    unfolded(t('curve.title'), table(
      [t('states.until'), t('curve.items'), t('curve.expected')],
      curve.toReversed().map((week) => [longDay(week.end), number(week.items), number(floor(week.expected))]))));
}

const recalls = (rows, ofAll) => histogram('recalls', ofAll, rows.filter(({ measure }) => measure === 'RECALL'),
  ({ atLeast, below }) => t('knowledge.percent', { from: percent(atLeast), to: percent(below ?? 1) }),
  ({ atLeast }) => percent(atLeast), () => 'right');

const intervals = (rows, ofAll) => histogram('intervals', ofAll,
  rows.filter(({ measure }) => measure === 'INTERVAL_DAYS'),
  ({ atLeast, below }) => (below == null
    ? t('knowledge.daysFrom', { from: atLeast })
    : t('knowledge.days', { from: atLeast, to: below - 1 })),
  ({ atLeast }) => number(atLeast),
  ({ atLeast }) =>
    `stage-${STAGES.indexOf(atLeast < 7 ? 'learning' : atLeast < 21 ? 'shortTermMastered' : 'longTermMastered')}`,
  stageLegend(STAGES));

/** A column for each range. `rangeOf` names a range, `labelOf` labels its column, `styleOf` is its class. */
function histogram(key, ofAll, rows, rangeOf, labelOf, styleOf, ...below) {
  const top = roundUp(Math.max(...rows.map(({ items }) => items)));
  const title = t(`knowledge.${key}`);
  const text = (row) => t('knowledge.between', { range: rangeOf(row), count: row.items });
  return card(key, title, null, ofAll(),
    note(t(`knowledge.${key}Meaning`)),
    chart(columns(rows.map((row) => ({ parts: [[styleOf(row), row.items]], title: text(row) })), top,
      `${title}: ${join(...rows.filter(({ items }) => items).map(text))}`), [0, top], number,
    axis(rows.map((row, index) => [index, labelOf(row)]).filter(([index]) => rows.length < 10 || index % 2 === 0),
      rows.length)),
    below);
}

function fadingCard({ totalCount, edges }, today, user) {
  const rows = edges.map((edge) => edge.node);
  return card('fading', t('fading.title'), 'wide',
    note(t(rows.length ? 'fading.meaning' : 'fading.none')),
    rows.some(({ own }) => own) && note(t('list.own')),
    rows.length > 0 && table([t('items.item'), t('items.recall'), t('items.due')], rows.map((item) => [
      [h('a', { href: itemPage(item.itemId, user) }, word(item)), level(item)],
      h('div', { class: 'recall' },
        bar([['right', item.estimatedRecall]], 1), h('b', null, recallShare(item.estimatedRecall))),
      due(item, today),
    ]), 'items fading', rows.map(({ itemId }) => itemId)),
    h('div', { class: 'tools' },
      rows.length > 0 && !user && !pastDay()
        && appLink('items.practise', { filter: 'FADING', language: chosenLanguage() }, true),
      totalCount > rows.length && h('a', { class: 'button quiet', href: itemList(user, { filter: 'fading' }) },
        t('fading.all', { count: totalCount }))));
}

function trust(calibration, ofAll) {
  return card('trust', t('trust.title'), null,
    h('ul', { class: 'facts' }, ['sees', 'wrong', 'falls'].map((name) => h('li', null, t(`trust.${name}`)))),
    calibration !== undefined && h('details', null,
      h('summary', null, t('trust.question')),
      ofAll(), calibration ? reliability(calibration) : note(t('trust.few'))));
}

function reliability({ tests, logLoss, constantLogLoss, bins }) {
  const shown = bins.filter((bin) => bin.tests);
  const most = Math.max(...shown.map((bin) => bin.tests));
  const isBetter = logLoss < constantLogLoss;
  const losses = { loss: hundredths(logLoss), constant: hundredths(constantLogLoss) };
  return [
    note(sentences(t('trust.tests', { count: tests }), t(isBetter ? 'trust.better' : 'trust.notBetter', losses))),
    chart(
      s('svg', { class: 'reliability', role: 'img', 'aria-label': t('trust.chart') },
        rules(),
        s('line', { class: 'equal', x1: 0, x2: '100%', y1: '100%', y2: 0 }),
        shown.map((bin) => s('circle', {
          class: 'right', cx: `${100 * bin.predicted}%`, cy: `${100 - 100 * bin.recalled}%`,
          r: 4 + 8 * Math.sqrt(bin.tests / most),
        }, s('title', null, t('trust.bin', {
          count: bin.tests, predicted: percent(bin.predicted), recalled: percent(bin.recalled) }))))),
      [0, 1], percent, axis([0, 0.5, 1].map((share) => [100 * share - 0.5, percent(share)]), 100)),
    note(sentences(t('trust.axes'), t('trust.read'))),
    table([t('trust.predicted'), t('trust.mean'), t('trust.recalled'), t('trust.count')], bins.map((bin) => [
      t('trust.range', { from: percent(bin.from), to: percent(bin.to) }), percent(bin.predicted), percent(bin.recalled),
      number(bin.tests)])),
  ];
}

const hundredths = (value) => number(Math.round(100 * value) / 100);
