// A year of study days as a grid. A day's shade stands for its number of answers. The arrow keys move from day to day.

import { h, s } from './dom.js';
import { dayAfter, dayOf, fullDay, instant, longDay, minutes, month, percent, weekday, weekdayOf } from './format.js';
import { join, sentences, t } from './i18n.js';
import { monthTable, review } from './review.js';

const SHADES = 4; // the number of shades for days with study
const MAX_YEARS_BACK = 10;

/** The section. `view` has the selected year and day. */
export function year(data, view) {
  const { days, day: today } = data;
  const studied = [...days.values()].filter((day) => day.date.startsWith(`${view.year}-`));
  const scale = scaleOf(studied.map((day) => day.answers));
  const labels = { 'aria-label': t('year.grid', { year: `${view.year}` }), 'aria-describedby': 'year-keys' };
  return h('section', { class: 'section', 'aria-labelledby': 'year', 'data-key': 'year' },
    h('div', { class: 'head' },
      h('h2', { id: 'year', tabindex: -1 }, t('year.title')), playButton(view),
      yearPicker(view, Number(today.slice(0, 4)))),
    h('div', { class: 'cards' },
      h('div', { class: 'card wide', 'data-key': 'grid' },
        h('h3', null, t('year.days')),
        h('p', { class: 'note' }, summary(studied, view, data)),
        h('div', { class: 'scroll', id: 'year-scroll' },
          h('table', { class: 'year', role: 'grid', ...labels },
            grid(view, data, (day) => shadeOf(days.get(day), scale)))),
        h('div', { class: 'beneath' },
          readout(view.preview ?? view.day, data),
          h('div', null,
            h('div', { class: 'scale', 'aria-hidden': 'true' }, t('year.fewer'), swatches(), t('year.more')),
            markKey(view.year, data))),
        h('p', { id: 'year-keys', class: 'unseen' }, t('year.keys'))),
      studied.length > 0 && [review(data, view.year, view.copied === view.year), monthTable(data, view.year)]));
}

const playButton = ({ months }) => h('button', { class: 'button quiet', type: 'button', 'data-play': 'months' },
  t(months ? 'year.stop' : 'year.play'));

/** The last day of each month of a year. */
export const monthEnds = (number) => Array.from({ length: 12 }, (_, month) => dayOf(Date.UTC(number, month + 1, 0)));

function yearPicker(view, last) {
  const step = (name, by, path, isDisabled) =>
    h('button', {
      class: 'step', type: 'button', 'aria-label': name,
      'data-year': view.year + by, 'aria-disabled': isDisabled && 'true',
    }, arrow(path));
  return h('div', { class: 'years', role: 'group', 'aria-label': t('year.picker') },
    step(t('year.before'), -1, 'M10 3L5 8l5 5', view.year <= last - MAX_YEARS_BACK),
    h('span', { class: 'chosen' }, view.year),
    step(t('year.after'), 1, 'M6 3l5 5-5 5', view.year >= last));
}

const arrow = (d) =>
  s('svg', { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d }));

function summary(studied, view, { streak, day }) {
  const year = `${view.year}`;
  if (view.loading === view.year) return t('year.loading', { year });
  const active = studied.filter((day) => day.sessionsCompleted);
  const answers = studied.reduce((sum, day) => sum + day.answers, 0);
  const text = active.length || answers
    ? t('year.summary', {
      days: t('count.studyDays', { count: active.length }), answers: t('count.answers', { count: answers }) })
    : t('year.empty', { year });
  const ended = streak.lastStudyDate && !streak.lastStudyDate.startsWith(day.slice(0, 4));
  return sentences(text, ended && t('year.recent', { day: longDay(streak.lastStudyDate) }));
}

function grid(view, data, shadeOf) {
  const monday = firstMonday(view.year);
  const weeks = [];
  for (let start = monday; Number(start.slice(0, 4)) <= view.year; start = dayAfter(start, 7)) weeks.push(start);
  const rows = [0, 1, 2, 3, 4, 5, 6].map((weekdayIndex) =>
    h('tr', null,
      h('th', { scope: 'row', abbr: weekday(dayAfter(monday, weekdayIndex), 'long') },
        h('span', { class: weekdayIndex % 2 ? 'unseen' : null }, weekday(dayAfter(monday, weekdayIndex)))),
      weeks.map((start) => cell(dayAfter(start, weekdayIndex), view, data, shadeOf))));
  return [h('thead', null, h('tr', null, h('td'), months(weeks, view.year))), h('tbody', null, rows)];
}

export const firstMonday = (number) => dayAfter(`${number}-01-01`, -weekdayOf(`${number}-01-01`));

/** A header for each month, above the weeks that end in this month. */
function months(weeks, year) {
  const ends = weeks.map((start) => (dayAfter(start, 6).startsWith(year) ? dayAfter(start, 6) : `${year}-12-31`));
  const spans = Map.groupBy(ends, (day) => day.slice(0, 7));
  return [...spans].map(([name, columns]) => {
    const day = `${name}-01`;
    return h('th', { scope: 'colgroup', colspan: columns.length, abbr: month(day, 'long') },
      h('span', { class: columns.length < 3 ? 'unseen' : null }, month(day)));
  });
}

function cell(day, view, data, shadeOf) {
  const { day: today, met, restDays } = data;
  if (!day.startsWith(`${view.year}-`)) return h('td', { class: 'out' });
  const isRest = restDays.has(day);
  if (day > today) {
    return h('td', { class: `ahead${isRest ? ' rest' : ''}` },
      isRest && h('span', { class: 'unseen' }, `${fullDay(day)}: ${t('year.rest')}`));
  }
  const chosen = day === view.day;
  return h('td', {
    class: `heat-${shadeOf(day)}${day === today ? ' now' : ''}${isRest ? ' rest' : ''}${met.has(day) ? ' met' : ''}`,
    'data-day': day,
    tabindex: chosen ? 0 : -1,
    'aria-selected': String(chosen),
    'aria-label': `${fullDay(day)}: ${describe(day, data)}`,
  });
}

/** What the marks mean that the year has; null without marks. */
function markKey(year, { met, restDays }) {
  const names = Object.entries({ met, rest: restDays })
    .filter(([, days]) => [...days].some((day) => day.startsWith(`${year}-`)));
  return names.length > 0 && h('div', { class: 'scale', 'aria-hidden': 'true' },
    names.map(([name]) => [h('i', { class: name }), t(`year.${name}`)]));
}

/**
 * The number of answers at the upper end of the scale of shades. It is the 90th percentile (by nearest rank) of the
 * answers per day, over the year's days with answers. It is at least the number of shades, so that one more answer
 * never skips a shade.
 */
export function scaleOf(answers) {
  const ranking = answers.filter(Boolean).sort((a, b) => a - b);
  return Math.max(SHADES, ranking[Math.ceil(0.9 * ranking.length) - 1] ?? 0);
}

/** The shade of a day with this number of answers: 0 without answers, else 1 to 4, in proportion to `scale`. */
export const shade = (answers, scale) => Math.min(SHADES, Math.ceil((SHADES * answers) / scale));

/** The shade of a day. A day with a session but without answers has shade 1. */
const shadeOf = (row, scale) => (row ? Math.max(shade(row.answers, scale), row.sessionsCompleted ? 1 : 0) : 0);

function describe(day, { days, met, restDays }) {
  const row = days.get(day);
  const rest = restDays.has(day) && t('year.rest');
  if (!row) return join(t('year.noStudy'), rest);
  const { answers, sessionsCompleted: sessions } = row;
  return join(
    t('count.answers', { count: answers }),
    answers > 0 && t('answers.right', { share: percent(row.correctAnswers / answers) }),
    sessions > 0 && t('year.sessions', {
      sessions: t('count.sessions', { count: sessions }), time: minutes(Math.floor(row.studySeconds / 60)) }),
    row.itemsLearned > 0 && t('year.learned', { count: row.itemsLearned }),
    met.has(day) && t('year.met'), rest);
}

function readout(day, data) {
  const step = (name, by, d) =>
    h('button', { class: 'step', type: 'button', 'data-step': by, 'aria-label': name }, arrow(d));
  return h('div', { class: 'readout' },
    step(t('year.dayBefore'), -1, 'M10 3L5 8l5 5'),
    h('p', { id: 'chosen-day' }, h('b', null, fullDay(day)), h('span', null, describe(day, data))),
    step(t('year.dayAfter'), 1, 'M6 3l5 5-5 5'));
}

const swatches = () => Array.from({ length: SHADES + 1 }, (_, index) =>
  s('svg', { width: 12, height: 12 }, s('rect', { class: `heat-${index}`, width: 12, height: 12, rx: 3 })));

/** The day to which a key moves the selection from `day`; null for other keys. */
export function moveDay(day, key, control) {
  const week = Math.floor((instant(day) - instant(firstMonday(day.slice(0, 4)))) / 604_800_000);
  const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7, PageUp: -28, PageDown: 28 };
  if (key in steps) return dayAfter(day, steps[key]);
  const year = day.slice(0, 4);
  if (control) return { Home: `${year}-01-01`, End: `${year}-12-31` }[key] ?? null;
  return { Home: dayAfter(day, -7 * week), End: dayAfter(day, 7 * (53 - week)) }[key] ?? null;
}

/** The day in the year's grid that is nearest to `day`. The grid has no days after today. */
export function clampDay(day, year, today) {
  const last = `${year}-12-31` < today ? `${year}-12-31` : today;
  return day < `${year}-01-01` ? `${year}-01-01` : day > last ? last : day;
}
