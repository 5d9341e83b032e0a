// Weeks and months as sums of days, so that they never contradict the days.

import { dayAfter, weekdayOf } from './format.js';

const NONE = {
  answers: 0, correctAnswers: 0, responseMs: 0, studySeconds: 0, sessionsCompleted: 0, activeDays: 0, itemsLearned: 0,
  newMasteryCount: 0,
};

/** The sums of the days from `from` to `to`, both included. `days` is a map by date. */
export function sum(days, from, to) {
  const total = { ...NONE, start: from, end: to };
  for (let date = from; date <= to; date = dayAfter(date, 1)) {
    const day = days.get(date);
    if (!day) continue;
    for (const name of ['answers', 'correctAnswers', 'studySeconds', 'sessionsCompleted', 'itemsLearned', 'newMasteryCount']) {
      total[name] += day[name];
    }
    total.responseMs += day.answers * (day.averageResponseMs ?? 0);
    total.activeDays += day.sessionsCompleted > 0;
  }
  return total;
}

export const accuracy = ({ answers, correctAnswers }) => (answers ? correctAnswers / answers : null);

/** The mean seconds per answer; null without answers. */
export const pace = ({ answers, responseMs }) => (answers ? responseMs / answers / 1000 : null);

export const monday = (date) => dayAfter(date, -weekdayOf(date));

/** The last `count` weeks, oldest first; the last one is that of `date`. */
export const weeks = (days, date, count) => Array.from({ length: count }, (_, index) => {
  const start = dayAfter(monday(date), 7 * (index - count + 1));
  return sum(days, start, dayAfter(start, 6));
});

/** The last `count` months, oldest first; the last one is that of `date`. */
export const months = (days, date, count) => Array.from({ length: count }, (_, index) => {
  const [year, month] = date.split('-').map(Number);
  return monthOf(days, year, month - count + index);
});

/** The sums of a month; `index` counts from 0 in January, and may lie in another year. */
function monthOf(days, year, index) {
  const day = (month, date) => new Date(Date.UTC(year, month, date)).toISOString().slice(0, 10);
  return sum(days, day(index, 1), day(index + 1, 0));
}
