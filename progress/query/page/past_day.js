// A past day: the page shows everything as of the end of that day. The URL's parameter `on` names the day.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { dayAfter, dayOf as utcDay, hourHere, instant, longDay, setNow } from './format.js';
import { countCards, t } from './i18n.js';

let day = null; // the day that the page shows; null for the present
let asOf = null; // the last microsecond of the day
let selections = 0; // increases when a day is selected; a day that was being loaded at that time is not shown
const ends = new Map(); // of the days that were shown, for whoever returns to one without a network
let present = null; // a learner and, once they are known, the learner's present day and when it ends

export const pastDay = () => day;

/** True if the day that the page shows is over. The present day can be chosen, too. */
export const isOver = () => asOf !== null && Date.parse(asOf) < Date.now();

/** The present day of the learner of the view, however the page's day is chosen; null while it is unknown. */
export const presentDay = () => present?.day ?? null;

/** The milliseconds until the learner's present day ends; null while this is unknown. */
export const untilTomorrow = () => (present?.end ? Date.parse(present.end) - Date.now() : null);

const HOUR_MS = 3_600_000;

/**
 * How little of the day is left: 2 in its last three hours, 1 in its last six, else 0. A user's own day that ends at
 * midnight in UTC may be that of a learner without preferences: then the browser's zone decides.
 */
export function urgency() {
  if (!present?.end) return 0;
  const isHere = present.user === null && present.end.includes('T00:00:00');
  const left = isHere ? 24 - hourHere() : untilTomorrow() / HOUR_MS;
  return left <= 3 ? 2 : left <= 6 ? 1 : 0;
}

/** Learn a learner's present day, by the server's clock. Return the learner, or null if nothing is recorded. */
export async function learnToday(user) {
  if (present?.user !== user) present = { user };
  // The day's end is asked for all days that may be the present one, so that one request is enough.
  const days = [-2, -1, 0, 1].map((ahead) => dayAfter(utcDay(Date.now()), ahead));
  const ends = days.map((date, index) => `d${index}: localDay(userId: $user, date: "${date}") { date end }`);
  const { data: { today: [{ date }], who, ...asked } } = await runQuery(
    `query Today($user: ID) { today: dueForecast(userId: $user, days: 1) { date } ${ends.join(' ')}
      who: userProgress(userId: $user) { displayName } }`, { user });
  const found = Object.values(asked).find((each) => each.date === date);
  if (present.user === user) present = { user, day: date, end: found?.end };
  return who;
}

/** The day that a URL's parameters name; null without a day, or with one that does not exist. */
export function dayOf(parameters) {
  const text = parameters.get('on') ?? '';
  return /^20\d\d-\d\d-\d\d$/.test(text) && new Date(instant(text) || 0).toISOString().startsWith(text) ? text : null;
}

/** Show the end of a learner's day from now on, or with null the present. `user` is null for the caller. */
export async function select(user, chosen) {
  const selection = (selections += 1);
  const end = chosen && await findEnd(user, chosen);
  if (selection !== selections) return;
  day = chosen;
  asOf = end && microsecondBefore(end);
  setNow(asOf && Date.parse(asOf));
}

async function findEnd(user, date) {
  const day = `${user} ${date}`;
  const query = 'query Day($user: ID, $date: Date!) { localDay(userId: $user, date: $date) { end } }';
  try {
    ends.set(day, (await runQuery(query, { user, date })).data.localDay.end);
  } catch (problem) {
    if (!problem.isAway || !ends.has(day)) throw problem;
  }
  return ends.get(day);
}

/** The time a microsecond before a time of the API. A Date has only milliseconds. */
export function microsecondBefore(time) {
  const [, second, fraction = ''] = /^(.+:\d\d)(?:\.(\d+))?Z$/.exec(time);
  const micros = Number(fraction.padEnd(6, '0').slice(0, 6));
  if (micros) return `${second}.${String(micros - 1).padStart(6, '0')}Z`;
  return `${new Date(Date.parse(`${second}Z`) - 1000).toISOString().slice(0, 19)}.999999Z`;
}

/**
 * Run a query about a learner. If the page shows a past day, each field that begins with `(userId: $user` is asked as
 * of the day's end. An answer never arrives once the page shows another day. If the learner's items of a language are
 * of several kinds, the page then calls all of them cards, because many of its numbers are of all languages.
 */
export async function ask(query, variables, signal) {
  const past = query.replace('(', '($asOf: DateTime, ').replaceAll('(userId: $user', '(userId: $user, asOf: $asOf');
  const asked = asOf;
  const answer = await (asOf ? runQuery(past, { ...variables, asOf }, signal) : runQuery(query, variables, signal))
    .finally(() => asked !== asOf && new Promise(() => {}));
  const areCards = answer.data.languages?.some(({ kinds }) => kinds > 1);
  if (areCards !== undefined && countCards(variables.user, areCards)) dispatchEvent(new Event('renamed'));
  return answer;
}

export const on = (chosen, href) => withParameter(href, 'on', chosen);

/** Set a parameter of a view's address, or with null remove it. */
export function withParameter(href, name, value) {
  const [path, query] = href.split('?');
  const parameters = new URLSearchParams(query);
  if (value) parameters.set(name, value);
  else parameters.delete(name);
  return parameters.size ? `${path}?${parameters}` : path;
}

/** A note that the page shows a past day, with the way back to the present; null if it shows the present. */
export const banner = () => day && h('aside', { class: 'then', 'data-key': 'then' },
  h('p', null, t('then.banner', { day: longDay(day) })),
  h('a', { class: 'button quiet', href: on(null, location.hash || '#/') }, t('then.back')));
