// Weeks and months as sums of days, so that they never contradict the days.

import { dayAfter, weekdayOf } from './format.js';
import { isOver } from './past_day.js';

export const MAX_WEEKS = 106; // a longer course by week is shown by month
const SUMMED = [
  'answers', 'correctAnswers', 'studySeconds', 'sessionsCompleted', 'itemsLearned', 'newMasteryCount',
];

/** The sums of the days from `from` to `to`, both included. `days` maps dates to days. */
export function sum(days, from, to) {
  const total = { start: from, end: to, responseMs: 0, timed: 0, activeDays: 0 };
  for (const name of SUMMED) total[name] = 0;
  for (let date = from; date <= to; date = dayAfter(date, 1)) {
    const day = days.get(date);
    if (!day) continue;
    for (const name of SUMMED) total[name] += day[name];
    if (day.averageResponseMs != null) {
      total.responseMs += day.answers * day.averageResponseMs;
      total.timed += day.answers;
    }
    total.activeDays += isStudyDay(day);
  }
  return total;
}

/** True for a day with an answer or a completed session; other days may have reviews. */
export const isStudyDay = ({ answers, sessionsCompleted }) => answers > 0 || sessionsCompleted > 0;

/** True for a period that is not over on a `day`. On the present day, which is not over, its learner still answers. */
export const isOpen = ({ end }, day, isDayOver = isOver()) => (isDayOver ? end > day : end >= day);

/** The first of these days, or `day` if it is earlier. */
export const firstDay = (days, day) => [...days.keys()].reduce((least, date) => (date < least ? date : least), day);

export const accuracy = ({ answers, correctAnswers }) => (answers ? correctAnswers / answers : null);

/** The mean seconds per answer; null without an answer that has a time. */
export const pace = ({ timed, responseMs }) => (timed ? responseMs / timed / 1000 : null);

export const monday = (date) => dayAfter(date, -weekdayOf(date));

/** The `count` weeks that end with the week of `date`, oldest first. */
export const weeks = (days, date, count) => Array.from({ length: count }, (_, index) => {
  const start = dayAfter(monday(date), 7 * (index - count + 1));
  return sum(days, start, dayAfter(start, 6));
});

/** The `count` months that end with the month of `date`, oldest first. */
export const months = (days, date, count = 12) => Array.from({ length: count }, (_, index) => {
  const [year, month] = date.split('-').map(Number);
  const day = (months, date) => new Date(Date.UTC(year, month + months, date)).toISOString().slice(0, 10);
  return sum(days, day(index - count, 1), day(index - count + 1, 0));
});

/** Points by week or, of more than two years, the last one of each month. */
export const byMonth = (weeks) => (weeks.length <= MAX_WEEKS ? weeks
  : [...new Map(weeks.map((week) => [week.end.slice(0, 7), week])).values()]);
