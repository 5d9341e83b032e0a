// A year of study days: a grid that arrow keys walk through, a shade for each day's answers.

import { h, s } from './dom.js';
import {
  count, dayAfter, fullDay, instant, longDay, minutes, month, number, percent, weekday, weekdayOf,
} from './format.js';

const SHADES = 5;
const BACK = 10; // years

/** The section; `view` has the year and the day that the reader has chosen. */
export function year(data, view) {
  const { days, day: today } = data;
  const studied = [...days.values()].filter((each) => each.date.startsWith(`${view.year}-`));
  const marks = studied.map((each) => each.answers).filter(Boolean).sort((a, b) => a - b);
  const named = { 'aria-label': `Study days of ${view.year}`, 'aria-describedby': 'year-keys' };
  return h('section', { class: 'card wide', 'aria-labelledby': 'year', 'data-key': 'year' },
    h('div', { class: 'head' },
      h('h2', { id: 'year' }, 'Study days'), chooser(view, Number(today.slice(0, 4)))),
    h('p', { class: 'note' }, summary(studied, view, data)),
    h('div', { class: 'scroll', id: 'year-scroll' },
      h('table', { class: 'year', role: 'grid', ...named },
        grid(view, today, (day) => shade(days.get(day)?.answers ?? 0, marks), days))),
    h('div', { class: 'beneath' },
      readout(view.preview ?? view.day, days),
      h('div', { class: 'scale', 'aria-hidden': 'true' }, 'Fewer answers', swatches(), 'more')),
    h('p', { id: 'year-keys', class: 'unseen' }, 'Arrow keys go from day to day and from week to week.'));
}

function chooser(view, last) {
  const step = (name, by, path, off) =>
    h('button', {
      class: 'step', type: 'button', 'aria-label': name,
      'data-year': view.year + by, 'aria-disabled': off && 'true',
    }, arrow(path));
  return h('div', { class: 'years', role: 'group', 'aria-label': 'Year' },
    step('Year before', -1, 'M10 3L5 8l5 5', view.year <= last - BACK),
    h('span', { class: 'chosen' }, view.year),
    step('Year after', 1, 'M6 3l5 5-5 5', view.year >= last));
}

const arrow = (d) =>
  s('svg', { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d }));

function summary(studied, view, { streak, day }) {
  if (view.loading) return `Asking for ${view.year} …`;
  const active = studied.filter((each) => each.answers || each.sessionsCompleted);
  const answers = studied.reduce((sum, each) => sum + each.answers, 0);
  const text = active.length
    ? `${count(active.length, 'study day', 'study days')}, ${count(answers, 'answer', 'answers')}.`
    : `No study days in ${view.year}.`;
  const ended = streak.lastStudyDate && !streak.lastStudyDate.startsWith(day.slice(0, 4));
  return ended ? `${text} The last study day of all was ${longDay(streak.lastStudyDate)}.` : text;
}

function grid(view, today, shadeOf, days) {
  const monday = firstMonday(view.year);
  const weeks = [];
  for (let start = monday; Number(start.slice(0, 4)) <= view.year; start = dayAfter(start, 7)) weeks.push(start);
  const rows = [0, 1, 2, 3, 4, 5, 6].map((place) =>
    h('tr', null,
      h('th', { scope: 'row', abbr: weekday(dayAfter(monday, place), 'long') },
        h('span', { class: place % 2 ? 'unseen' : null }, weekday(dayAfter(monday, place)))),
      weeks.map((start) => cell(dayAfter(start, place), view, today, shadeOf, days))));
  return [h('thead', null, h('tr', null, h('td'), months(weeks, view.year))), h('tbody', null, rows)];
}

export const firstMonday = (number) => dayAfter(`${number}-01-01`, -weekdayOf(`${number}-01-01`));

/** A header over the weeks that end in each month. */
function months(weeks, year) {
  const ends = weeks.map((start) => (dayAfter(start, 6).startsWith(year) ? dayAfter(start, 6) : `${year}-12-31`));
  const spans = Map.groupBy(ends, (day) => day.slice(0, 7));
  return [...spans].map(([name, within]) => {
    const day = `${name}-01`;
    return h('th', { scope: 'colgroup', colspan: within.length, abbr: month(day, 'long') },
      h('span', { class: within.length < 3 ? 'unseen' : null }, month(day)));
  });
}

function cell(day, view, today, shadeOf, days) {
  if (!day.startsWith(`${view.year}-`)) return h('td', { class: 'out' });
  if (day > today) return h('td', { class: 'ahead' });
  const chosen = day === view.day;
  return h('td', {
    class: `heat-${shadeOf(day)}${day === today ? ' now' : ''}`,
    'data-day': day,
    tabindex: chosen ? 0 : -1,
    'aria-selected': String(chosen),
    'aria-label': `${fullDay(day)}: ${told(days.get(day))}`,
  });
}

/** 0 without answers, else the quarter of the year's days with answers, in order, that it is in. */
function shade(answers, marks) {
  if (!answers) return 0;
  return 1 + Math.floor(((SHADES - 1) * marks.findIndex((each) => each >= answers)) / marks.length);
}

function told(row) {
  if (!row) return 'no study';
  const { sessionsCompleted: sessions } = row;
  const parts = [
    count(row.answers, 'answer', 'answers'),
    row.answers ? `${percent(row.correctAnswers / row.answers)} right` : '',
    sessions ? `${count(sessions, 'session', 'sessions')} of ${minutes(row.studyTimeMinutes)}` : '',
    row.itemsLearned ? `${number(row.itemsLearned)} newly learned` : '',
  ];
  return parts.filter(Boolean).join(', ');
}

function readout(day, days) {
  const step = (name, by, d) =>
    h('button', { class: 'step', type: 'button', 'data-step': by, 'aria-label': name }, arrow(d));
  return h('div', { class: 'readout' },
    step('Day before', -1, 'M10 3L5 8l5 5'),
    h('p', { id: 'chosen-day' }, h('b', null, fullDay(day)), h('span', null, told(days.get(day)))),
    step('Day after', 1, 'M6 3l5 5-5 5'));
}

const swatches = () => Array.from({ length: SHADES }, (_, place) =>
  s('svg', { width: 12, height: 12 }, s('rect', { class: `heat-${place}`, width: 12, height: 12, rx: 3 })));

/** The day that a key leads to from `day`; null if the key means nothing here. */
export function stepped(day, key, control) {
  const week = Math.floor((instant(day) - instant(firstMonday(day.slice(0, 4)))) / 604_800_000);
  const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7, PageUp: -28, PageDown: 28 };
  if (key in steps) return dayAfter(day, steps[key]);
  const year = day.slice(0, 4);
  if (control) return { Home: `${year}-01-01`, End: `${year}-12-31` }[key] ?? null;
  return { Home: dayAfter(day, -7 * week), End: dayAfter(day, 7 * (53 - week)) }[key] ?? null;
}

/** The nearest day that the year's grid has. */
export function within(day, year, today) {
  const last = `${year}-12-31` < today ? `${year}-12-31` : today;
  return day < `${year}-01-01` ? `${year}-01-01` : day > last ? last : day;
}
