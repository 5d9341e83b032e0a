// The section "Today": what to do next, the streak, and the goal or, without one, the day's answers.

import { h, s } from './dom.js';
import {
  dayAfter, days, fullDay, longDay, minutes, nearDay, now, percent, shortDay, weekday,
} from './format.js';
import { countBehind } from './freshness.js';
import { join, t } from './i18n.js';
import { appLink, streakPage, wordsOf } from './items.js';
import { ofAllLanguages } from './languages.js';
import { has, mark, note } from './layout.js';
import { behind, news, say, spellOut, whatNow } from './news.js';
import { firstDay } from './periods.js';
import { isOver, pastDay, urgency } from './past_day.js';

const CHANGE_MS = 7 * 86_400_000; // so long the page tells that study days have another definition
const LENGTHS = [3, 7, 14, 30, 50, 100, 200, 365]; // as in the kind STREAK of the API's milestones

export function today(data, celebration) {
  const { day, streak, goal, days: studied } = data;
  const row = studied.get(day);
  const next = whatNow(data);
  return h('section', { class: 'tiles', 'aria-labelledby': 'today', 'data-key': 'today' },
    h('h2', { id: 'today', tabindex: -1 }, t('jump.today'), h('small', null, fullDay(day))),
    ofAllLanguages(data.languages, data.language), news(data, next),
    tile(next.style, t('next.title'), figure(next.figure, next.values, behind(data, next)), nextNotes(data, next)),
    tile(`half${streak.activeToday ? ' warm' : ''}`, t('streak.title'), flame(streak),
      figure('streak.days', { count: streak.current }, streak.lastStudyDate && streakPage(data.user)),
      streakNotes(data, next), changeNote(data), restNotes(data)),
    goal
      ? tile(`half${goal.answersToday ? ' warm' : ''}`, t(pastDay() ? 'then.goal' : 'goal.title'), ring(goal),
        figure('count.answers', { count: goal.answersToday }), goalNotes(goal, day, row), setting(data))
      : tile('half', t(pastDay() ? 'week.answers' : 'answers.title'),
        figure('count.answers', { count: row?.answers ?? 0 }), answerNotes(row, streak), setting(data)),
    pills(data, celebration),
  );
}

/** What is true for a short time only. It lies above the page, so that nothing moves when it comes and goes. */
export const pills = (data, celebration) => h('div', { class: 'pills', 'data-key': 'pills' },
  celebration, data.pending && mark('wait', t('sent.waiting')), counting(data));

/** The streak's emblem: a flame, pale until the learner has studied today. */
const flame = ({ activeToday }) => s('svg', {
  class: `emblem ${activeToday ? 'lit' : ''}`.trim(), viewBox: '0 0 24 24', 'aria-hidden': 'true',
},
  s('path', { d: 'M12 2c1 4 6 6 6 12a6 6 0 0 1-12 0c0-3 1.5-4.5 2.5-6 .5 2 1.5 3 2.5 3 1.5-2 .5-6 1-9z' }));
function ring({ answersToday, answersPerDay }) {
  const share = Math.min(1, answersToday / answersPerDay);
  const circle = { cx: 18, cy: 18, r: 15, pathLength: 100 };
  return s('svg', { class: 'emblem ring', viewBox: '0 0 36 36', 'aria-hidden': 'true' },
    s('circle', { class: 'whole', ...circle }),
    share > 0 && s('circle', { class: 'part', ...circle, 'stroke-dasharray': `${100 * share} 100` }));
}

/** What the page will show, with made-up numbers, for a learner without data. */
export const preview = () => h('figure', { class: 'preview' },
  h('figcaption', null, t('welcome.example')),
  h('div', { class: 'tiles', 'aria-hidden': 'true' },
    tile('next', t('next.title'), figure('next.due', { count: 18 })),
    tile('half', t('streak.title'), flame({ activeToday: true }), figure('streak.days', { count: 12 })),
    tile('half', t('goal.title'), ring({ answersToday: 14, answersPerDay: 20 }),
      figure('count.answers', { count: 14 }))));

const tile = (style, name, ...content) => h('div', { class: `card tile ${style}` }, h('h3', null, name), content);

/** A text with large numbers, which opens what they count. */
function figure(key, values, href = null) {
  const text = t(key, values).split(/(\p{Nd}[\p{Nd}.,\u00a0\u202f]*)/u).map((part, index) =>
    (index % 2 ? h('strong', null, part) : part && h('span', null, part)));
  return h('p', { class: 'figure', 'data-same': key }, href ? h('a', { href }, text) : text);
}

function streakNotes({ streak, days: studied, day }, { hours }) {
  const { current, longest, longestStart, longestEnd, lastStudyDate, activeToday, atRisk, restToday } = streak;
  const longestRun = longest > current && longestStart
    ? note(t('streak.longest', { count: longest, days: days(longestStart, longestEnd) }))
    : longestEnd === lastStudyDate && longestStart > firstDay(studied, day) && note(t('streak.record'));
  const notes = [current > 0 && note(nextLength(current)), longestRun];
  if (activeToday) return [mark('good', t(pastDay() ? 'then.studied' : 'streak.studied')), ...notes];
  if (restToday) return [mark('good', t('streak.rest')), ...notes];
  if (atRisk) return [pastDay() ? note(t('then.unstudied')) : open(current, hours), ...notes];
  if (lastStudyDate) return [note(t('streak.last', { day: longDay(lastStudyDate) })), longestRun];
  return [note(t('streak.begins'))];
}

/** What keeps the streak: said calmly, with the time in the last six hours of the day, a warning in the last three. */
function open(current, hours) {
  const level = urgency();
  const text = hours ? t(...hours) : t('streak.open', { count: current + 1 });
  return level ? mark(level > 1 ? 'warn' : 'wait', text) : note(text);
}

/** For a week after an upgrade with another definition of a study day: what a study day is now. */
function changeNote({ projections }) {
  const at = projections.find(({ name }) => name === 'learning_streaks')?.changedAt;
  return at && now() - Date.parse(at) < CHANGE_MS && note(t('streak.changed'));
}

/** The days until the streak is a milestone: one of LENGTHS, then each further year. */
function nextLength(current) {
  const next = LENGTHS.find((length) => length > current) ?? 365 * (Math.floor(current / 365) + 1);
  return t('streak.next', { count: next - current, next });
}

/** The rest days from today on, and the button that takes one or takes one back. */
function restNotes(data) {
  const open = [...data.restDays].filter((day) => day >= data.day).sort();
  const ahead = open.filter((day) => day > data.day);
  return [
    ahead.length > 0 && note(t('streak.restAhead', { days: join(ahead.map(shortDay)) })),
    (open.length > 0 || data.streak.current > 0)
      && command(data, 'rest', open.length ? 'streak.changeRest' : 'streak.takeRest'),
  ];
}

function counting({ projections }) {
  const count = countBehind(projections);
  return count > 0 && mark('wait', t('fresh.counting', { count }));
}

export const setting = (data) => command(data, 'goal', data.goal ? 'goal.change' : 'goal.set');

/** A button that opens a dialog of `commands.js`. Only learners themselves have it, and only in the present. */
const command = ({ isOwn }, name, text) => isOwn && !pastDay() && h('button', {
  type: 'button', class: 'button quiet', 'data-command': name, 'data-key': `command-${name}`,
}, t(text));

function answerNotes(row, { activeToday }) {
  const none = pastDay() ? 'then.noAnswers' : 'answers.none';
  if (!row?.answers) return [note(t(activeToday ? 'answers.noAnswers' : none))];
  return [note(share(row)), note(sessions(row))];
}

const share = (row) => t('answers.right', { share: percent(row.correctAnswers / row.answers) });

const sessions = ({ sessionsCompleted, studySeconds }) => join(
  sessionsCompleted > 0 && t('count.sessions', { count: sessionsCompleted }),
  studySeconds >= 60 && minutes(Math.floor(studySeconds / 60)));

function goalNotes(goal, day, row) {
  const isMet = goal.answersToday >= goal.answersPerDay;
  const isOpen = !isMet && !isOver(); // the day can still be met
  return [
    isMet
      ? mark('good', t('goal.met', { goal: goal.answersPerDay }))
      : note(t('goal.of', { goal: goal.answersPerDay, count: goal.answersPerDay - goal.answersToday })),
    h('ol', { class: 'week' }, goal.week.map((met, index) =>
      weekDot(met ? 'dayMet' : isOpen && index === 6 ? 'dayOpen' : 'dayMissed', dayAfter(day, index - 6)))),
    note(t(isOpen ? 'goal.weekOpen' : 'goal.week', { count: goal.daysMet7 })),
    row?.answers > 0 && note(t(
      pastDay() ? 'answers.right' : 'goal.right', { share: percent(row.correctAnswers / row.answers) })),
  ];
}

/** `state` is dayMet, dayMissed or dayOpen. */
const weekDot = (state, date) => h('li', { class: { dayMet: 'met', dayOpen: 'open' }[state] },
  h('span', { class: 'unseen' }, t(`goal.${state}`, { day: weekday(date, 'long') })),
  h('span', { 'aria-hidden': 'true' }, weekday(date, 'narrow')));

function nextNotes(data, next) {
  const { day: today, due: [{ items }, ...later], isOwn } = data;
  const rests = next.style !== 'next';
  return [
    next.note && (rests ? mark('good', t(...next.note)) : note(say(data, next.note))),
    next.tomorrow && note(tomorrow(next.tomorrow)),
    !items && has('due', data) && note(nextDue(later, today)),
    h('div', { class: 'tools' }, isOwn && !pastDay() && appLink(next.button, next.words, rests), mistakes(data)),
  ];
}

const tomorrow = ({ count, minutes: time }) =>
  join(t('next.tomorrow', { count }), time && t('next.time', { duration: spellOut(time) }));

function mistakes(data) {
  const yesterday = dayAfter(data.day, -1);
  const row = data.days.get(yesterday);
  return !pastDay() && row?.correctAnswers < row?.answers &&
    h('a', { class: 'button quiet', href: wordsOf(data, 'missed', yesterday) }, t('items.mistakes'));
}

function nextDue(later, today) {
  const next = later.find((day) => day.items);
  if (!next) return t('next.nothing', { count: later.length });
  return t('next.later', { count: next.items, day: nearDay(next.date, today) });
}
