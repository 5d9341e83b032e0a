// A year of study days: a grid with a shade for each day's answers, navigated with arrow keys.

import { h, s } from './dom.js';
import {
  count, dayAfter, fullDay, instant, longDay, minutes, month, number, percent, weekday, weekdayOf,
} from './format.js';

const SHADES = 5;
const MAX_YEARS_BACK = 10;

/** The section. `view` has the selected year and day. */
export function year(data, view) {
  const { days, day: today } = data;
  const studied = [...days.values()].filter((day) => day.date.startsWith(`${view.year}-`));
  const ranking = studied.map((day) => day.answers).filter(Boolean).sort((a, b) => a - b);
  const labels = { 'aria-label': `Study days of ${view.year}`, 'aria-describedby': 'year-keys' };
  return h('section', { class: 'card wide', 'aria-labelledby': 'year', 'data-key': 'year' },
    h('div', { class: 'head' },
      h('h2', { id: 'year' }, 'Study days'), yearPicker(view, Number(today.slice(0, 4)))),
    h('p', { class: 'note' }, summary(studied, view, data)),
    h('div', { class: 'scroll', id: 'year-scroll' },
      h('table', { class: 'year', role: 'grid', ...labels },
        grid(view, today, (day) => shade(days.get(day)?.answers ?? 0, ranking), days))),
    h('div', { class: 'beneath' },
      readout(view.preview ?? view.day, days),
      h('div', { class: 'scale', 'aria-hidden': 'true' }, 'Fewer answers', swatches(), 'more')),
    h('p', { id: 'year-keys', class: 'unseen' }, 'Arrow keys go from day to day and from week to week.'));
}

function yearPicker(view, last) {
  const step = (name, by, path, isDisabled) =>
    h('button', {
      class: 'step', type: 'button', 'aria-label': name,
      'data-year': view.year + by, 'aria-disabled': isDisabled && 'true',
    }, arrow(path));
  return h('div', { class: 'years', role: 'group', 'aria-label': 'Year' },
    step('Year before', -1, 'M10 3L5 8l5 5', view.year <= last - MAX_YEARS_BACK),
    h('span', { class: 'chosen' }, view.year),
    step('Year after', 1, 'M6 3l5 5-5 5', view.year >= last));
}

const arrow = (d) =>
  s('svg', { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d }));

function summary(studied, view, { streak, day }) {
  if (view.loading === view.year) return `Loading ${view.year} …`;
  const active = studied.filter((day) => day.answers || day.sessionsCompleted);
  const answers = studied.reduce((sum, day) => sum + day.answers, 0);
  const text = active.length
    ? `${count(active.length, 'study day', 'study days')}, ${count(answers, 'answer', 'answers')}.`
    : `No study days in ${view.year}.`;
  const ended = streak.lastStudyDate && !streak.lastStudyDate.startsWith(day.slice(0, 4));
  return ended ? `${text} The most recent study day was ${longDay(streak.lastStudyDate)}.` : text;
}

function grid(view, today, shadeOf, days) {
  const monday = firstMonday(view.year);
  const weeks = [];
  for (let start = monday; Number(start.slice(0, 4)) <= view.year; start = dayAfter(start, 7)) weeks.push(start);
  const rows = [0, 1, 2, 3, 4, 5, 6].map((weekdayIndex) =>
    h('tr', null,
      h('th', { scope: 'row', abbr: weekday(dayAfter(monday, weekdayIndex), 'long') },
        h('span', { class: weekdayIndex % 2 ? 'unseen' : null }, weekday(dayAfter(monday, weekdayIndex)))),
      weeks.map((start) => cell(dayAfter(start, weekdayIndex), view, today, shadeOf, days))));
  return [h('thead', null, h('tr', null, h('td'), months(weeks, view.year))), h('tbody', null, rows)];
}

export const firstMonday = (number) => dayAfter(`${number}-01-01`, -weekdayOf(`${number}-01-01`));

/** A header above the weeks that end in each month. */
function months(weeks, year) {
  const ends = weeks.map((start) => (dayAfter(start, 6).startsWith(year) ? dayAfter(start, 6) : `${year}-12-31`));
  const spans = Map.groupBy(ends, (day) => day.slice(0, 7));
  return [...spans].map(([name, columns]) => {
    const day = `${name}-01`;
    return h('th', { scope: 'colgroup', colspan: columns.length, abbr: month(day, 'long') },
      h('span', { class: columns.length < 3 ? 'unseen' : null }, month(day)));
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
    'aria-label': `${fullDay(day)}: ${describe(days.get(day))}`,
  });
}

/** 0 without answers, else 1 to 4: the day's quartile among the year's days with answers. */
function shade(answers, ranking) {
  if (!answers) return 0;
  return 1 + Math.floor(((SHADES - 1) * ranking.findIndex((other) => other >= answers)) / ranking.length);
}

function describe(row) {
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
    h('p', { id: 'chosen-day' }, h('b', null, fullDay(day)), h('span', null, describe(days.get(day)))),
    step('Day after', 1, 'M6 3l5 5-5 5'));
}

const swatches = () => Array.from({ length: SHADES }, (_, index) =>
  s('svg', { width: 12, height: 12 }, s('rect', { class: `heat-${index}`, width: 12, height: 12, rx: 3 })));

/** The day to which a key moves from `day`; null if the key does not move. */
export function moveDay(day, key, control) {
  const week = Math.floor((instant(day) - instant(firstMonday(day.slice(0, 4)))) / 604_800_000);
  const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7, PageUp: -28, PageDown: 28 };
  if (key in steps) return dayAfter(day, steps[key]);
  const year = day.slice(0, 4);
  if (control) return { Home: `${year}-01-01`, End: `${year}-12-31` }[key] ?? null;
  return { Home: dayAfter(day, -7 * week), End: dayAfter(day, 7 * (53 - week)) }[key] ?? null;
}

/** The nearest day in the year's grid. */
export function clampDay(day, year, today) {
  const last = `${year}-12-31` < today ? `${year}-12-31` : today;
  return day < `${year}-01-01` ? `${year}-01-01` : day > last ? last : day;
}
