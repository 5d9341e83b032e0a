// The page of one item: what is known about it, an estimate of its recall, and its history.

import { runQuery } from './api.js';
import { axis, chart, columns, legend, roundUp, rules } from './charts.js';
import { h, s } from './dom.js';
import {
  ago, dayAfter, dayOf, decimal, floor, fullDay, instant, longDay, number, percent, recallShare, shortDay,
} from './format.js';
import { join, sentences, t } from './i18n.js';
import { card, note, pairs, table, unfolded } from './layout.js';
import { ends, frame, lines, round } from './line_charts.js';
import { learnDays } from './local_days.js';
import { learnName, nameOf } from './names.js';
import { View } from './problems.js';
import { appLink, due, itemList, level, listLink, listName, listPage, word } from './items.js';
import { ask, pastDay } from './past_day.js';

const AHEAD = 30; // number of days after today that the forgetting curve covers
// Lists have no past: `ask` leaves the field of `$whose` as it is.
const QUERY = `query Item($user: ID, $whose: ID, $item: ID!) {
  item(userId: $user, itemId: $item) {
    itemId headword language kind level own domains answers correctAnswers accuracyRate averageResponseMs
    firstAnsweredAt lastAnsweredAt
    intervalDays reviewedAt dueAt dueOn setAside inPlay lapses mastery
    estimatedRecall memory { stabilityDays difficulty }
  }
  history: itemHistory(userId: $user, itemId: $item) {
    reviews { at intervalDays }
    days { date answers correctAnswers }
  }
  forgetting: itemForgetting(userId: $user, itemId: $item, days: ${AHEAD}) { date before after }
  languages(userId: $user) { language kinds }
  today: dueForecast(userId: $user, days: 1) { date }
  lists: itemLists(userId: $whose, itemId: $item) { id name }
}`;
const SET_ASIDE = `mutation SetAside($item: ID!, $aside: Boolean!, $key: ID!) {
  event: setItemAside(itemId: $item, aside: $aside, idempotencyKey: $key) { counted }
}`;
const STEPS = 60; // the most time steps in each chart
const DAY = 86_400_000; // milliseconds
const MAX_ROWS = 200; // maximum number of rows in the table
const WORDS = { UNLEARNED: 'new', LEARNING: 'learning', SHORT_TERM: 'known', LONG_TERM: 'lasting' }; // of the glossary

export class ItemPage extends View {
  constructor(element, itemId, user, list, shell) {
    super(element, shell, { itemId, user, list });
    this.naming = this.load();
    this.keepTime();
    this.on('click', ({ target }) => target.closest('[data-aside]') && this.choose());
  }

  async read(signal) {
    const { user, itemId: item } = this;
    const variables = { user, whose: user, item };
    const { data } = await ask(QUERY, variables, signal);
    // On a past day, the catalogue may not have the word yet.
    const now = data.item || !pastDay() ? data : (await runQuery(QUERY, variables, signal)).data;
    learnName('item', item, now.item?.headword);
    this.shell.named();
    const reviews = data.history.reviews.slice(0, MAX_ROWS);
    const dayOf = await learnDays(user, reviews.map(({ at }) => at), signal);
    return { ...data, reviewed: reviews.map((review) => ({ ...review, date: dayOf(review.at) })) };
  }

  /** Set the item aside, or take it back. A repetition of a request that failed has the same key, and counts once. */
  async choose() {
    const { signal } = this.closing;
    const aside = !this.data.item.setAside;
    if (this.chosen?.aside !== aside) this.chosen = { aside, key: crypto.randomUUID() };
    if (this.isChoosing) return;
    this.isChoosing = true;
    try {
      const { data: { event } } = await runQuery(SET_ASIDE, { item: this.itemId, ...this.chosen }, signal);
      this.chosen = null;
      this.data.item.setAside = aside;
      this.shell.announce(t(event.counted ? aside ? 'item.isAside' : 'item.isBack' : 'sent.waiting'));
      if (event.counted) await this.load();
      else this.succeed();
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    } finally {
      this.isChoosing = false;
    }
  }

  sections() {
    const { item, lists, history, reviewed, forgetting: points, today: [{ date: today }] } = this.data;
    const from = lists.find(({ id }) => id === this.list);
    const back = h('p', { 'data-key': 'back' },
      h('a', { class: 'back', href: from ? listPage(from.id, this.user) : itemList(this.user) },
        from ? listName(from) : t('view.items')));
    if (!item) {
      return [back, h('section', { class: 'card wide problem', 'data-key': 'missing' },
        h('h1', null, t('item.missing')), h('p', null, t('item.missingAdvice')))];
    }
    return [
      back,
      h('header', { class: 'item-head', 'data-key': 'head' },
        h('h1', null, word(item), level(item)),
        note(join(
          item.domains.map((domain) => t(`skills.${domain}`)),
          this.user && t('item.of', { user: nameOf('learner', this.user) }))),
        lists.length > 0 && note(`${t('item.lists')} `,
          ...lists.flatMap((one, at) => [at > 0 && ' · ', ...listLink(one, this.user)])),
        item.own && note(t('list.own')),
        item.setAside && note(t('item.isAside')),
        !this.user && !pastDay() && h('div', { class: 'tools' },
          appLink('items.practise', { item: item.itemId }, true),
          h('button', { type: 'button', class: 'button quiet', 'data-aside': true, 'data-key': 'aside' },
            t(item.setAside ? 'item.takeBack' : 'item.setAside')))),
      h('section', { 'aria-labelledby': 'facts', 'data-key': 'facts' },
        h('h2', { id: 'facts', class: 'unseen' }, t('item.facts')),
        h('div', { class: 'cards' },
          recall(item, today), answers(item, history),
          historyCard(history, points, points.length > 1 ? dayAfter(points.at(-1).date, -AHEAD) : today, reviewed))),
    ];
  }
}

export const stateOf = (mastery) => t(`glossary.words.${WORDS[mastery]}`);

function recall(item, today) {
  const { estimatedRecall, memory, mastery, reviewedAt, intervalDays } = item;
  const facts = [
    memory && [t('item.stability'), stability(memory)],
    memory && [t('item.difficulty'), difficulty(memory)],
    [t('lag.state'), stateOf(mastery)],
    [t('items.due'), due(item, today)],
    [t('item.interval'), intervalDays == null ? '–' : t('streak.days', { count: intervalDays })],
    [t('item.reviewed'), reviewedAt ? ago(reviewedAt) : '–'],
  ].filter(Boolean);
  return card('recall', t('items.recall'), null,
    h('p', { class: 'figure' }, h('strong', null, recallShare(estimatedRecall))),
    note(t(estimatedRecall == null ? 'item.noRecall' : 'item.recallMeaning')),
    pairs(facts));
}

/** The time from the last answer until the estimated recall is 90%. */
function stability({ stabilityDays }) {
  return stabilityDays < 1 ? t('item.underDay') : t('item.stable', { count: floor(stabilityDays) });
}

function difficulty({ difficulty: value }) {
  const name = value < 4 ? 'easy' : value < 7 ? 'medium' : 'hard';
  return t(`item.difficulties.${name}`, { value: decimal(floor(value, 10)) });
}

function answers(item, history) {
  const {
    answers: count, correctAnswers, accuracyRate, averageResponseMs, firstAnsweredAt, lastAnsweredAt, lapses,
  } = item;
  const seconds = number(Math.round(averageResponseMs / 100) / 10);
  const speed = averageResponseMs == null ? '–' : t('item.seconds', { seconds });
  const facts = [
    [t('item.right'), t('items.ofAnswers', { right: correctAnswers, count })],
    [t('item.speed'), speed],
    [t('item.first'), firstAnsweredAt ? firstAnswer(item, history) : '–'],
    [t('item.last'), lastAnsweredAt ? ago(lastAnsweredAt) : '–'],
    [t('items.lapses'), number(lapses)],
  ];
  return card('answers', t('item.answers'), null,
    h('p', { class: 'figure' }, h('strong', null, percent(accuracyRate)),
      count > 0 && h('span', null, t('weeks.right'))),
    pairs(facts));
}

/** The learner's day of the first answer. If the history does not cover all answers, the time since then. */
export function firstAnswer({ answers: count, firstAnsweredAt }, { days }) {
  const covered = days.reduce((sum, day) => sum + day.answers, 0);
  return covered === count ? longDay(days.at(-1).date) : ago(firstAnsweredAt);
}

/** The curve of the `points`, the answers and the intervals on one time axis, and the newest reviews by day. */
function historyCard({ reviews, days }, points, today, reviewed) {
  if (!reviews.length && !days.length) return card('history', t('item.history'), 'wide', note(t('item.noHistory')));
  const hasCurve = points.length > 1;
  const last = hasCurve ? points.at(-1) : { date: today };
  const steps = timeline(reviews, days, last.date, points[0]?.date);
  const time = { from: steps[0].start, to: steps.at(-1).start + steps[0].size };
  return card('history', t('item.history'), 'wide',
    note(sentences(hasCurve && t('forgetting.meaning', { day: longDay(last.date), share: recallShare(last.after) }))),
    hasCurve && curve(points, today, days, time),
    days.length > 0 && answerChart(steps),
    reviews.length > 0 && intervalChart(steps, today),
    h('div', { class: 'chart' }, dayAxis(steps[0].day, today, last.date, time)),
    hasCurve && curveTable(points),
    unfolded(t('item.history'), historyTable(reviewed, days)));
}

/**
 * Split the time from the first event, or from the day `first` if it is earlier, to the end of the day `to` into at
 * most 60 equal steps of a day or more. Each step has its start and size in milliseconds, a day for its label, the
 * numbers of right and wrong answers, and the interval after the step's last review.
 *
 * Days stand at noon in UTC. Reviews stand at their times, which may fall on the day before or after the learner's.
 */
export function timeline(reviews, days, to, first = to) {
  const middle = (day) => instant(day) + DAY / 2;
  const last = Math.max(middle(to), ...days.map(({ date }) => middle(date)));
  const events = [
    ...days.map(({ date, ...day }) => ({ at: middle(date), ...day })),
    ...reviews.map(({ at, intervalDays }) => ({ at: Math.min(Date.parse(at), last), intervalDays })),
  ].sort((one, other) => one.at - other.at);
  const from = Math.min(instant(first), instant(dayOf(events[0].at)));
  const whole = last + DAY / 2 - from;
  const count = Math.min(STEPS, Math.round(whole / DAY));
  const size = whole / count;
  const steps = Array.from({ length: count }, (_, index) => {
    const start = from + index * size;
    return { start, size, day: dayOf(start), right: 0, wrong: 0, intervalDays: null };
  });
  for (const event of events) {
    const step = steps[Math.min(Math.floor((event.at - from) / size), count - 1)];
    step.right += event.correctAnswers ?? 0;
    step.wrong += (event.answers ?? 0) - (event.correctAnswers ?? 0);
    if (event.intervalDays != null) step.intervalDays = event.intervalDays;
  }
  return steps;
}

function answerChart(steps) {
  const top = roundUp(Math.max(...steps.map(({ right, wrong }) => right + wrong)));
  return [
    chart(columns(steps.map(({ day, right, wrong }) => ({
      parts: [['right', right], ['wrong', wrong]],
      title: join(shortDay(day), t('items.ofAnswers', { right, count: right + wrong })),
      key: day,
    })), top, t('item.answerChart')), [0, top], number),
    legend([['right', t('weeks.right')], ['wrong', t('weeks.wrong')]]),
  ];
}

/** A chart of the interval over time. A review's interval is shown until the next review, or until `today`. */
function intervalChart(steps, today) {
  let last = null;
  const values = steps.map(({ start, intervalDays }) => {
    last = intervalDays ?? last;
    return start <= instant(today) + DAY ? last : null;
  });
  const top = roundUp(Math.max(...values.filter((value) => value != null)));
  return [
    lines([{ name: 'mature', values, isStepped: true }], [0, top], t('item.intervalChart'), number),
    legend([['mature', t('item.intervals')]]),
  ];
}

function historyTable(reviewed, days) {
  const rows = [
    ...reviewed.map(({ date, intervalDays }) => [date, t('item.review', { count: intervalDays })]),
    ...days.map(({ date, correctAnswers: right, answers: count }) => [date, t('items.ofAnswers', { right, count })]),
  ];
  const newest = rows.sort(([one], [other]) => other.localeCompare(one)).slice(0, MAX_ROWS)
    .map(([date, text]) => [fullDay(date), text]);
  return table([t('sessions.when'), t('item.what')], newest);
}

/**
 * The curve with its legend. `points` are the estimates as in the API, `today` is the learner's day as a string,
 * `answers` are the days with answers, and `time` has the milliseconds of the chart's first and last edge.
 */
export function curve(points, today, answers, time) {
  const x = scale(time);
  const answered = new Map(answers.map((day) => [day.date, day]));
  const at = (date, recall) => `${round(x(date))},${round(100 - 100 * recall)}`;
  return [
    chart(s('svg', { class: 'lines', role: 'img', 'aria-label': t('forgetting.chart'), ...frame },
      s('rect', { class: 'ahead', x: x(today), width: 100 - x(today), y: 0, height: 100 }),
      rules(),
      s('path', { class: 'mature', d: points.map(({ date, before, after }, index) => [
        before != null && `${index ? 'L' : 'M'}${at(date, before)}`,
        before !== after && `${index || before != null ? 'L' : 'M'}${at(date, after)}`,
      ].filter(Boolean).join('')).join('') }),
      points.filter(({ date }) => answered.has(date)).map(({ date, after }) => {
        const { answers: count, correctAnswers } = answered.get(date);
        return s('path', { class: correctAnswers < count ? 'slipped dot' : 'right dot', d: `M${at(date, after)}h0` });
      })), [0, 1], percent, null, ends([[x(points.at(-1).date), points.at(-1).after]], [0, 1], recallShare)),
    legend([
      ['right', t('forgetting.right')], ['slipped', t('forgetting.wrong')], ['ahead', t('forgetting.ahead')]]),
  ];
}

const curveTable = (points) => unfolded(t('forgetting.title'), table(
  [t('due.date'), t('forgetting.before'), t('forgetting.after')],
  points.toReversed().map(({ date, before, after }) => [fullDay(date), recallShare(before), recallShare(after)])));

/** A function that maps a day, which stands at noon, to its horizontal position from 0 to 100. */
const scale = ({ from, to }) => (date) => (100 * (instant(date) + DAY / 2 - from)) / (to - from);

/**
 * The axis: the first day, the day that the page shows, and the last one. If the first two are close, the middle of the
 * others is named instead of the first; if the last two are close, the middle of the first ones instead of the last.
 */
export function dayAxis(first, today, last, time) {
  const at = scale(time);
  const middle = (from, to) => dayOf((instant(from) + instant(to)) / 2);
  const shown = at(today) - at(first) < 20 ? [today, middle(today, last), last]
    : at(last) - at(today) < 20 ? [first, middle(first, today), today] : [first, today, last];
  return axis(shown.map((day) =>
    [at(day) - 0.5, day === today && !pastDay() ? t('items.now') : shortDay(day)]), 100);
}
