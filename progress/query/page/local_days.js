// When days of learners begin and end. Only the server knows their zones, and when their days start.

import { runQuery } from './api.js';
import { dayAfter, dayOf } from './format.js';

const MAX_ASKED = 30; // in one request: the API's limit of aliases

/** The function that gives the day of a learner to which a time belongs, one of `times`. */
export async function learnDays(user, times, signal) {
  // In the west, a day that starts late in the evening ends two days after its date in UTC.
  const dates = new Set(times.flatMap((time) => [-2, -1, 0, 1].map((ahead) => dayAfter(dayOf(time), ahead))));
  const days = await ask([...dates].map((date) => [user, date]), signal);
  const isIn = (time, { start, end }) => Date.parse(start) <= Date.parse(time) && Date.parse(time) < Date.parse(end);
  return (time) => days.find((day) => isIn(time, day)).date;
}

/** When a day ends for most of the learners; undefined without learners. */
export async function commonEnd(users, date, signal) {
  const ends = (await ask(users.map((user) => [user, date]), signal)).map(({ end }) => end);
  const count = (end) => ends.filter((other) => other === end).length;
  return ends.sort((one, other) => count(other) - count(one))[0];
}

async function ask(days, signal) {
  const answers = Array.from({ length: Math.ceil(days.length / MAX_ASKED) }, (_, index) => {
    const some = days.slice(MAX_ASKED * index, MAX_ASKED * (index + 1));
    const parameters = some.map((_, at) => `$u${at}: ID`).join(', ');
    const fields = some.map(([, date], at) => `d${at}: localDay(userId: $u${at}, date: "${date}") { date start end }`);
    const variables = Object.fromEntries(some.map(([user], at) => [`u${at}`, user]));
    return runQuery(`query Days(${parameters}) { ${fields.join(' ')} }`, variables, signal);
  });
  return (await Promise.all(answers)).flatMap(({ data }) => Object.values(data));
}
