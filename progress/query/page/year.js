// The study days of twelve months or of a year as a grid, whose shades stand for numbers of answers.

import { h, s } from './dom.js';
import { dayAfter, dayOf, fullDay, instant, longDay, minutes, month, percent, weekday } from './format.js';
import { join, sentences, t } from './i18n.js';
import { dayPage, wordsOf } from './items.js';
import { isOpen, isStudyDay, monday } from './periods.js';

const SHADES = 4; // the number of shades for days with study
const MAX_YEARS_BACK = 10;

/** The first and the last day of a calendar year or, for "recent", of the last twelve months: 53 weeks to this one. */
export const spanOf = (year, today) => (year === 'recent'
  ? { from: dayAfter(monday(today), -364), to: dayAfter(monday(today), 6) }
  : { from: `${year}-01-01`, to: `${year}-12-31` });

const within = ({ from, to }, day) => from <= day && day <= to;

export const calendarYear = (year, today) => (year === 'recent' ? Number(today.slice(0, 4)) : year);

/** The section. `view` has the selected year, which is a number or "recent", and the selected day. */
export function year(data, view) {
  const { days, day: today } = data;
  const span = view.span ?? spanOf(view.year, today);
  const studied = [...days.values()].filter((day) => within(span, day.date));
  const scale = scaleOf(studied.map((day) => day.answers));
  const reviewed = calendarYear(view.year, today);
  const hasReview = [...days.keys()].some((day) => day.startsWith(`${reviewed}-`));
  const labels = { 'aria-label': t('year.grid', { year: nameOf(view.year) }), 'aria-describedby': 'year-keys' };
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
            grid(view, data, span, (day) => shadeOf(days.get(day), scale)))),
        h('div', { class: 'beneath' },
          readout(view.preview ?? view.day, data),
          h('div', null,
            h('div', { class: 'scale', 'aria-hidden': 'true' }, t('year.fewer'), swatches(), t('year.more')),
            markKey(span, data))),
        h('p', { id: 'year-keys', class: 'unseen' }, t('year.keys'))),
      hasReview && h('details', { 'data-key': 'reviewed' }, h('summary', null, reviewTitle(data, reviewed)),
        h('div', { class: 'cards' }, view.review?.(data, reviewed, view.copied === reviewed)))));
}

export function reviewTitle({ day, isOwn }, year) {
  const own = isOpen({ end: `${year}-12-31` }, day) ? 'year.mineSoFar' : 'year.mine';
  return t(isOwn ? own : 'year.theirs', { year: `${year}` });
}

const nameOf = (year) => (year === 'recent' ? t('year.twelveMonths') : t('year.name', { year: `${year}` }));

const playButton = ({ months }) => h('button', { class: 'button quiet', type: 'button', 'data-play': 'months' },
  t(months ? 'year.stop' : 'year.play'));

export function monthEnds({ from, to }) {
  const [year, month] = from.split('-').map(Number);
  const ends = Array.from({ length: 13 }, (_, index) => dayOf(Date.UTC(year, month + index, 0)));
  return ends.filter((end) => end <= to);
}

/** The buttons that select the year before and after; after the current year come the last twelve months. */
function yearPicker({ year }, last) {
  const step = (name, to, path, isDisabled) =>
    h('button', {
      class: 'step', type: 'button', 'aria-label': name, 'data-year': to, 'aria-disabled': isDisabled && 'true',
    }, arrow(path));
  const isRecent = year === 'recent';
  return h('div', { class: 'years', role: 'group', 'aria-label': t('year.picker') },
    step(t('year.before'), isRecent ? last : year - 1, 'M10 3L5 8l5 5', year <= last - MAX_YEARS_BACK),
    h('span', { class: 'chosen' }, nameOf(year)),
    step(t('year.after'), year < last ? year + 1 : 'recent', 'M6 3l5 5-5 5', isRecent));
}

const arrow = (d) =>
  s('svg', { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d }));

function summary(studied, view, { streak, day }) {
  const year = nameOf(view.year);
  if (view.loading === view.year) return t('year.loading', { year });
  const active = studied.filter(isStudyDay);
  const answers = studied.reduce((sum, day) => sum + day.answers, 0);
  const text = active.length
    ? t('year.summary', {
      days: t('count.studyDays', { count: active.length }), answers: t('count.answers', { count: answers }) })
    : view.year === 'recent' ? t('year.emptyRecent') : t('year.empty', { year });
  const ended = streak.lastStudyDate && !streak.lastStudyDate.startsWith(day.slice(0, 4));
  return sentences(text, ended && t('year.recent', { day: longDay(streak.lastStudyDate) }));
}

function grid(view, data, span, shadeOf) {
  const first = monday(span.from);
  const weeks = [];
  for (let start = first; start <= span.to; start = dayAfter(start, 7)) weeks.push(start);
  const rows = [0, 1, 2, 3, 4, 5, 6].map((weekdayIndex) =>
    h('tr', null,
      h('th', { scope: 'row', abbr: weekday(dayAfter(first, weekdayIndex), 'long') },
        h('span', { class: weekdayIndex % 2 ? 'unseen' : null }, weekday(dayAfter(first, weekdayIndex)))),
      weeks.map((start) => cell(dayAfter(start, weekdayIndex), view, data, span, shadeOf))));
  const last = view.year === 'recent' && !view.span ? data.day : span.to;
  return [h('thead', null, h('tr', null, h('td'), months(weeks, last))), h('tbody', null, rows)];
}

/** A header for each month, above the weeks that end in this month. The last week may end before its Sunday. */
function months(weeks, last) {
  const ends = weeks.map((start) => (dayAfter(start, 6) < last ? dayAfter(start, 6) : last));
  const spans = Map.groupBy(ends, (day) => day.slice(0, 7));
  return [...spans].map(([name, columns]) => {
    const day = `${name}-01`;
    return h('th', { scope: 'colgroup', colspan: columns.length, abbr: month(day, 'long') },
      h('span', { class: columns.length < 3 ? 'unseen' : null }, month(day)));
  });
}

function cell(day, view, data, span, shadeOf) {
  const { day: today, met, restDays } = data;
  if (!within(span, day)) return h('td', { class: 'out' });
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

function markKey(span, { met, restDays }) {
  const names = Object.entries({ met, rest: restDays })
    .filter(([, days]) => [...days].some((day) => within(span, day)));
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
    h('p', { id: 'chosen-day' },
      h('b', null, nameDay(day, data)), h('span', null, describe(day, data)), doors(day, data)),
    step(t('year.dayAfter'), 1, 'M6 3l5 5-5 5'));
}

/** A day's date, which opens what counts on it. */
function nameDay(day, { user }) {
  const href = dayPage(day, user);
  return href ? h('a', { href }, fullDay(day)) : fullDay(day);
}

function doors(day, data) {
  const { answers = 0, correctAnswers } = data.days.get(day) ?? {};
  const link = (filter, text) => h('a', { href: wordsOf(data, filter, day) }, t(text));
  return answers > 0 && h('span', null,
    link('answered', 'items.see'), correctAnswers < answers && [' · ', link('missed', 'year.missed')]);
}

const swatches = () => Array.from({ length: SHADES + 1 }, (_, index) =>
  s('svg', { width: 12, height: 12 }, s('rect', { class: `heat-${index}`, width: 12, height: 12, rx: 3 })));

/** The day to which a key moves the selection from `day` within a span; null for other keys. */
export function moveDay(day, key, span, control) {
  const week = Math.floor((instant(day) - instant(monday(span.from))) / 604_800_000);
  const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7, PageUp: -28, PageDown: 28 };
  if (key in steps) return dayAfter(day, steps[key]);
  if (control) return { Home: span.from, End: span.to }[key] ?? null;
  return { Home: dayAfter(day, -7 * week), End: dayAfter(day, 7 * (53 - week)) }[key] ?? null;
}

/** The day in the span's grid that is nearest to `day`. The grid has no days after today. */
export function clampDay(day, { from, to }, today) {
  const last = to < today ? to : today;
  return day < from ? from : day > last ? last : day;
}

/** The days of a span, up to today, that are before or after a range; null if the range has all of them. */
export function daysOutside(range, span, today) {
  const last = clampDay(span.to, span, today);
  if (span.from < range.from) return { from: span.from, to: last < range.from ? last : dayAfter(range.from, -1) };
  return last > range.to ? { from: span.from > range.to ? span.from : dayAfter(range.to, 1), to: last } : null;
}
