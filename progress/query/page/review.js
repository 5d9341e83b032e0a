// A year in review, and its months as a table.

import { h, s } from './dom.js';
import {
  dayAfter, days as span, longDay, minutes, month, monthSign, number, percent, weekday, weekdayOf,
} from './format.js';
import { sentences, t } from './i18n.js';
import { card, note, table } from './layout.js';
import { accuracy, firstDay, isOpen, isStudyDay, months, sum } from './periods.js';
import { reviewTitle } from './year.js';

/** The cards of a year. `isCopied` says that its text was copied. */
export const cards = (data, year, isCopied) => [review(data, year, isCopied), monthTable(data, year)];

function monthTable({ days, day }, year) {
  const first = firstDay(days, day);
  const rows = monthsOf(days, year).filter(({ start, end }) => start <= day && end >= first);
  const names = ['studyDays', 'answers', 'right', 'time', 'learned'].map((name) => t(`week.${name}`));
  return card('months', t('months.title'), null,
    table([t('months.month'), ...names], rows.toReversed().map((period) => [
      isOpen(period, day) ? t('weeks.soFar', { day: month(period.start) }) : month(period.start),
      number(period.activeDays), number(period.answers), percent(accuracy(period)),
      minutes(Math.floor(period.studySeconds / 60)), number(period.itemsLearned)]), 'stacking'));
}

const monthsOf = (days, year) => months(days, `${year}-12-31`);

export function review(data, year, isCopied) {
  const facts = factsOf(data, year);
  return h('div', { class: 'card review', 'data-key': 'review' },
    h('h3', null, reviewTitle(data, year)),
    h('dl', null, facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value)))),
    skyline(monthsOf(data.days, year), data.day),
    note(sentences(highlights(data, year))),
    data.isOwn &&
      h('button', { class: 'button', type: 'button', 'data-share': 'year', 'data-key': 'share' }, t('review.share')),
    isCopied && note(t('sent.copied')));
}

function factsOf(data, year) {
  const total = sum(data.days, `${year}-01-01`, `${year}-12-31`);
  const fact = (key, count) => [t(key, { count }), number(count)];
  return [
    fact('review.studyDays', total.activeDays),
    fact('review.answers', total.answers),
    [t('review.time'), minutes(Math.floor(total.studySeconds / 60))],
    fact('review.learned', total.itemsLearned),
  ];
}

function highlights({ days, restDays }, year) {
  const dates = [...days.keys()].filter((date) => date.startsWith(`${year}-`)).sort();
  const rows = dates.map((date) => days.get(date));
  const best = rows.reduce((most, row) => (row.answers > most.answers ? row : most));
  const run = longestRun(rows.filter(isStudyDay).map(({ date }) => date), restDays);
  const texts = [];
  if (run.length > 1) texts.push(t('review.run', { count: run.length, days: span(run[0], run.at(-1)) }));
  if (best.answers) texts.push(t('review.best', { day: longDay(best.date), count: best.answers }));
  const name = favouriteWeekday(rows);
  if (rows.length >= 14 && name) texts.push(t('review.weekday', { day: name }));
  return texts;
}

/** The longest run of study days; rest days between them do not break it. */
function longestRun(dates, restDays) {
  let longest = [];
  let run = [];
  for (const date of dates) {
    let next = run.length && dayAfter(run.at(-1), 1);
    while (next && next < date && restDays.has(next)) next = dayAfter(next, 1);
    run = next === date ? [...run, date] : [date];
    if (run.length > longest.length) longest = run;
  }
  return longest;
}

function favouriteWeekday(rows) {
  const answers = [0, 0, 0, 0, 0, 0, 0];
  for (const row of rows) answers[weekdayOf(row.date)] += row.answers;
  const most = Math.max(...answers);
  return most ? weekday(dayAfter('2024-01-01', answers.indexOf(most)), 'long') : null;
}

/** A column chart of the answers in each month, without numbers, above the names of the months. One is not over. */
function skyline(months, day) {
  const most = Math.max(...months.map((period) => period.answers), 1);
  return h('div', { class: 'skyline', 'aria-hidden': 'true' },
    s('svg', null, months.map((period, index) => {
      const height = period.answers && Math.max((100 * period.answers) / most, 3);
      const x = (100 * (index + 0.1)) / 12;
      return s('rect', {
        class: isOpen(period, day) && 'unfinished', rx: 3,
        x: `${x}%`, width: `${80 / 12}%`, y: `${100 - height}%`, height: `${height}%`,
      });
    })),
    h('ol', { class: 'names' }, months.map((period) => h('li', null, monthSign(period.start)))));
}

/** Share a text about the year. Resolve to true if it was copied, because the browser has no share menu. */
export async function share(data, year) {
  const facts = factsOf(data, year).map(([name, value]) => `${name}: ${value}`);
  const text = [reviewTitle(data, year), ...facts, ...highlights(data, year)].join('\n');
  if (navigator.share) {
    await navigator.share({ text }).catch(() => {}); // the user closed the menu
    return false;
  }
  return navigator.clipboard.writeText(text).then(() => true, () => false);
}
