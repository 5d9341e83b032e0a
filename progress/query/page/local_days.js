// When days of learners begin and end. Only the server knows their zones, and when their days start.

import { askEach } from './api.js';
import { dayAfter, dayOf } from './format.js';

const known = new Map(); // the days of each learner that the page has asked for

/** The function that gives the day of a learner to which a time belongs, one of `times`. */
export async function learnDays(user, times, signal) {
  const days = known.get(user) ?? [];
  known.set(user, days);
  const isIn = (time, { start, end }) => Date.parse(start) <= Date.parse(time) && Date.parse(time) < Date.parse(end);
  const find = (time) => days.find((day) => isIn(time, day));
  const learn = async (some, datesOf) => {
    const dates = new Set(some.filter((time) => !find(time)).flatMap(datesOf));
    days.push(...await ask([...dates].map((date) => [user, date]), signal));
  };
  // In the west, a day that starts late in the evening ends two days after its date in UTC.
  const near = (time) => [-2, -1, 0, 1].map((ahead) => dayAfter(dayOf(time), ahead));
  await learn(times.slice(0, 1), near);
  // The other days begin at the same time, unless the clocks have changed or the learner has moved.
  const [{ date, start } = {}] = days;
  await learn(times, (time) => dayOf(new Date(Date.parse(time) - Date.parse(start) + Date.parse(date)).toISOString()));
  await learn(times, near);
  return (time) => find(time).date;
}

/** When a day ends for most of the learners; undefined without learners. */
export async function commonEnd(users, date, signal) {
  const ends = (await ask(users.map((user) => [user, date]), signal)).map(({ end }) => end);
  const count = (end) => ends.filter((other) => other === end).length;
  return ends.sort((one, other) => count(other) - count(one))[0];
}

const ask = (days, signal) => askEach(days.map(([user]) => user),
  (learner, at) => `localDay(${learner}, date: "${days[at][1]}") { date start end }`, signal);
