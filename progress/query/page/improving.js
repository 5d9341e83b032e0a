// The section "Am I improving?": four weeks against the four before, what was remembered, and charts by week and month.

import {
  answerParts, axis, chart, columns, counts, dateLabels, door, legend, openKey, roundUp, slots,
} from './charts.js';
import { h } from './dom.js';
import {
  dayAfter, days, decimal, instant, longDay, minutes, month, monthSign, number, percent, rounded, shortDay,
} from './format.js';
import { join, parts, t } from './i18n.js';
import { wordsLink, wordsOf } from './items.js';
import { card, has, note, section, table, unfolded } from './layout.js';
import { MAX_WEEKS, accuracy, firstDay, isOpen, monday, months, pace, sum, weeks } from './periods.js';
import { pastDay } from './past_day.js';

const RANGES = { month: 5, quarter: 13, year: 53, all: 0 }; // weeks of the charts by week; 0: since the first answer
const COMPARED = 28; // days
const MONTHS = { month: 2, quarter: 4, year: 12, all: 0 }; // months of the chart of mastered items
const MAX_MONTHS = 24; // a longer chart shows years

/** The section. The range's buttons are over the charts that they change. `states` draws a card that arrives later. */
export function improving(data, { range = 'year', states = null } = {}) {
  const [hasCourse, hasMastered] = ['improving', 'mastered'].map((name) => has(name, data));
  return section('improving', t(data.user ? 'jump.improving' : 'improving.title'),
    has('comparison', data) && comparison(data), data.retention && has('retention', data) && retention(data),
    (hasCourse || hasMastered) && ranges(range),
    hasCourse && !pastDay() && card('states', t('states.title'), 'wide',
      states ? states(data, since(data, range)) : note(t('states.loading'))),
    hasMastered && ([...data.days.values()].some((day) => day.newMasteryCount)
      ? mastered(periodsOf(data, range), data)
      : card('mastered', t('mastered.title'), null, note(t('mastered.noneNow')))),
    hasCourse && byWeek(data, range));
}

const points = (rate) => t('week.points', { count: Math.round(100 * rate) });

function comparison({ days: studied, day }) {
  const upTo = (last) => sum(studied, dayAfter(last, 1 - COMPARED), last);
  const [now, before] = [upTo(day), upTo(dayAfter(day, -COMPARED))];
  const rows = [
    ['answers', (span) => span.answers, number, number, 'volume'],
    ['right', (span) => rounded(accuracy(span), 100), percent, points, 'more'],
    ['speed', (span) => rounded(pace(span), 10), decimal, decimal, 'neither'],
    ['time', (span) => Math.floor(span.studySeconds / 60), minutes, minutes, 'neither'],
    ['studyDays', (span) => span.activeDays, number, number, 'volume'],
    ['learned', (span) => span.itemsLearned, number, number, 'volume'],
  ];
  return card('comparison', t('week.title'), null,
    table([h('span', { class: 'unseen' }, t('week.number')), t('week.this'), t('week.last'), t('week.change')],
      rows.map(([name, value, show, showChange, better]) => [
        t(`week.${name}`), show(value(now)), show(value(before)),
        change(value(now), value(before), showChange, better)])));
}

/**
 * The difference of the displayed values, with its sign. With the `better` "more", less is marked as worse. With
 * "volume", it is not: the learner may still study today. With "neither", nothing is marked: slow answers may be
 * careful ones, and a session that is left open takes time, too.
 */
function change(now, before, show, better) {
  if (now == null || before == null) return '–';
  const difference = now - before;
  const text = show(Math.abs(difference));
  if (text === show(0)) return '±0';
  const sign = difference > 0 ? '+' : '−';
  const style = difference > 0 ? 'up' : better === 'more' && 'down';
  return h('span', { class: better !== 'neither' && style }, sign, text);
}

const ranges = (selected) => h('div', {
  class: 'switch', role: 'group', 'aria-label': t('range.title'), 'data-key': 'ranges',
},
  Object.keys(RANGES).map((name) => h('button', {
    type: 'button', 'data-range': name, 'aria-pressed': String(name === selected),
  }, t(`range.${name}`))));

/** The first day of a range; null for all days. */
const since = ({ day }, range) => (RANGES[range] ? dayAfter(monday(day), -7 * (RANGES[range] - 1)) : null);

/** The number of weeks of a range, from the first day of study on, the current one included. */
function weeksOf({ days: studied, day }, range) {
  const all = 1 + (instant(monday(day)) - instant(monday(firstDay(studied, day)))) / 604_800_000;
  return Math.min(RANGES[range] || all, all);
}

function byWeek(data, range) {
  const { days: studied, day } = data;
  const count = weeksOf(data, range);
  const isByMonth = count > MAX_WEEKS;
  const shown = isByMonth ? monthsOf(data, range) : weeks(studied, day, count);
  const top = roundUp(Math.max(...shown.map((week) => week.answers)));
  const total = sum(studied, shown[0].start, day);
  const room = slots(shown.length);
  const title = t(isByMonth ? 'weeks.byMonth' : 'weeks.title');
  return card('weeks', title, null,
    note(total.answers
      ? t('weeks.summary', { count: total.answers, day: longDay(shown[0].start), share: percent(accuracy(total)) })
      : t('weeks.none')),
    chart(columns(shown.map((week) => ({
      parts: answerParts(week.correctAnswers, week.answers, isOpen(week, day)),
      title: describe(week),
      key: week.start,
      href: week.answers ? answered(data, week) : null,
    })), top, t('weeks.chart'), room),
    [0, top], number, axis(dateLabels(shown.map((week) => week.start), room), room), door()),
    legend([['right', t('weeks.right')], ['wrong', t('weeks.wrong')], openKey()]),
    unfolded(title, weekTable(shown, data)));
}

const describe = (week) => t('weeks.week', { days: days(week.start, week.end), text: week.answers
  ? join(t('count.answers', { count: week.answers }), t('answers.right', { share: percent(accuracy(week)) }))
  : t('weeks.noAnswers') });

const answered = (data, { start, end }) => wordsOf(data, 'answered', start, end);

const weekTable = (shown, data) => table(
  [t('weeks.of'), t('week.answers'), t('week.right'), t('week.speed'), t('week.time'), t('week.studyDays')],
  shown.toReversed().map((week) => [
    h(week.answers ? 'a' : 'span', week.answers && { href: answered(data, week) },
      isOpen(week, data.day) ? t('weeks.soFar', { day: shortDay(week.start) }) : shortDay(week.start)),
    number(week.answers), percent(accuracy(week)), decimal(pace(week)),
    minutes(Math.floor(week.studySeconds / 60)), number(week.activeDays)]));

function monthsOf(data, range) {
  const first = firstDay(data.days, data.day);
  const all = months(data.days, data.day, MONTHS[range] || Math.ceil(weeksOf(data, range) / 4) + 1);
  return all.filter(({ end }) => end >= first);
}

function periodsOf(data, range) {
  const shown = monthsOf(data, range);
  if (shown.length <= MAX_MONTHS) return shown;
  return [...new Set(shown.map(({ start }) => start.slice(0, 4)))]
    .map((year) => sum(data.days, `${year}-01-01`, `${year}-12-31`));
}

/** The items newly mastered in each month or year. A period that is not over is hatched above its whole name. */
function mastered(shown, data) {
  const { days: studied, day } = data;
  const isByYear = shown[0].end.slice(0, 7) !== shown[0].start.slice(0, 7);
  const nameOf = ({ start }) => (isByYear ? t('year.name', { year: start.slice(0, 4) }) : month(start, 'long'));
  const signOf = ({ start }) => (isByYear ? start.slice(2, 4) : monthSign(start));
  const course = shown.length > 1 && !isByYear && soFar(shown.slice(-2), studied, day);
  const total = shown.reduce((count, { newMasteryCount }) => count + newMasteryCount, 0);
  const words = t('items.found', { count: total });
  return card('mastered', t(isByYear ? 'mastered.byYear' : 'mastered.title'), null,
    note(
      parts('mastered.summary', {
        count: total, day: longDay(shown[0].start),
        words: isByYear || !total ? words : wordsLink(data, words, 'newly_mastered', shown[0].start, day),
      }),
      course && [t('gap'), course]),
    counts(shown.map((period) => {
      const { start, end, newMasteryCount: value } = period;
      const name = nameOf(period);
      const href = wordsOf(data, 'newly_mastered', start, end);
      if (!isOpen(period, day)) {
        const text = t('mastered.month', { month: name, count: value });
        return { value, href, day: start, text, name: signOf(period) };
      }
      const text = t('mastered.month', { month: t('weeks.soFar', { day: name }), count: value });
      return { value, href, day: start, text, name: h('i', null, name), style: 'unfinished' };
    })));
}

function soFar([before, period], studied, day) {
  if (!isOpen(period, day)) return null;
  const last = dayAfter(before.start, Number(day.slice(8)) - 1);
  const other = sum(studied, before.start, last < before.end ? last : before.end);
  const name = ({ start }) => month(start, 'long');
  return t('mastered.soFar', {
    month: name(period), count: period.newMasteryCount, before: name(before), other: other.newMasteryCount,
  });
}

/** The card about retention: the share of items that the learner still knew when they came up again on a later day. */
function retention({ retention: rows, day }) {
  const since = (count) => rows.filter((row) => row.start > dayAfter(day, -count) && row.start <= day);
  const body = [7, 28, 365].map((count) => [
    t('retention.lastDays', { count }), ...['young', 'mature'].map((name) => rate(since(count), name))]);
  const headers = [h('span', { class: 'unseen' }, t('retention.period')), t('retention.young'), t('retention.mature')];
  return card('retention', t('retention.title'), null, note(t('retention.meaning')), table(headers, body));
}

function rate(rows, name) {
  const [asked, recalled] = tests(rows, name);
  if (!asked) return '–';
  return [h('b', null, percent(recalled / asked)), h('span', { class: 'of' }, t('retention.asked', { count: asked }))];
}

const tests = (rows, name) => rows.reduce(
  ([asked, recalled], row) => [asked + row[name].asked, recalled + row[name].recalled], [0, 0]);
