// The tiles of today, and the totals since the first day.

import { h, s } from './dom.js';
import { count, days, fullDay, longDay, minutes, number, percent } from './format.js';
import { bar, legend } from './shares.js';

/** The learner's streak, answers of the day, and due items. */
export function today({ day, streak, days: studied, due }) {
  const row = studied.get(day);
  return h('section', { class: 'tiles', 'aria-labelledby': 'today', 'data-key': 'today' },
    h('h2', { id: 'today' }, 'Today', h('small', null, fullDay(day))),
    tile('Streak', streak.current, streak.current === 1 ? 'day' : 'days', ...streakNotes(streak)),
    tile('Answers today', row?.answers ?? 0, '', ...answerNotes(row, streak)),
    tile('Due today', due[0].items, due[0].items === 1 ? 'item' : 'items', ...dueNotes(due)),
  );
}

function tile(name, value, unit, ...notes) {
  return h('div', { class: 'card tile' },
    h('h3', null, name),
    h('p', { class: 'figure' }, h('strong', null, number(value)), unit && ' ', unit && h('span', null, unit)),
    notes,
  );
}

function streakNotes(streak) {
  const { current, longest, longestStart, longestEnd, lastStudyDate, activeToday, atRisk } = streak;
  const longestRun = longest > current && longestStart
    ? note(`Longest: ${count(longest, 'day', 'days')}, ${days(longestStart, longestEnd)}`)
    : longest > 0 && note('Your longest so far');
  if (atRisk) return [mark('warn', 'At risk: finish a session today'), longestRun];
  if (activeToday) return [mark('good', 'Studied today'), longestRun];
  if (lastStudyDate) return [note(`Last study day: ${longDay(lastStudyDate)}`), longestRun];
  return [note('Begins with your first finished session')];
}

function answerNotes(row, { activeToday }) {
  if (!row?.answers) return [note(activeToday ? 'A finished session without answers' : 'Nothing yet today')];
  const sessions = count(row.sessionsCompleted, 'session', 'sessions');
  return [
    note(h('b', null, percent(row.correctAnswers / row.answers)), ' right'),
    note(`${sessions}, ${minutes(row.studyTimeMinutes)}`),
  ];
}

function dueNotes(due) {
  const later = due.slice(1).reduce((sum, day) => sum + day.items, 0);
  return [
    note(due[0].items ? 'Including overdue items' : 'All caught up'),
    note(`${number(later)} more in the ${due.length - 1} days after`),
  ];
}

const note = (...content) => h('p', { class: 'note' }, content);

function mark(kind, text) {
  const paths = { good: 'M3 8.5l3.2 3.2L13 5', warn: 'M8 3v6M8 12.2v.6' };
  return h('p', { class: `mark ${kind}` },
    s('svg', { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' },
      s('path', { d: paths[kind] })),
    text);
}

/** The totals since the first day. */
export function totals({ progress }) {
  const { unlearned, learning, shortTermMastered, longTermMastered } = progress.masteryStats;
  const whole = unlearned + learning + shortTermMastered + longTermMastered;
  const figures = [
    ['Items learned', number(progress.totalItemsLearned)],
    ['Sessions', number(progress.totalSessionsCompleted)],
    ['Study time', minutes(progress.totalStudyTimeMinutes)],
    ['Right answers', percent(progress.accuracyRate)],
  ];
  return h('section', { class: 'card totals', 'aria-labelledby': 'totals', 'data-key': 'totals' },
    h('h2', { id: 'totals' }, 'All together'),
    h('dl', { class: 'figures' }, figures.map(([name, value]) =>
      h('div', null, h('dt', null, name), h('dd', null, value)))),
    h('div', null,
      h('h3', null, `Of the ${count(whole, 'item', 'items')} there are`),
      bar([longTermMastered, shortTermMastered, learning], whole),
      legend([longTermMastered, shortTermMastered, learning, unlearned])),
  );
}
