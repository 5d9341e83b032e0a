// Formats of numbers, dates and times in the document's language.

import { language, t } from './i18n.js';

const UTC = { timeZone: 'UTC' };

const numbers = new Intl.NumberFormat(language);
const signs = new Intl.NumberFormat(language, { signDisplay: 'exceptZero' });
const percents = new Intl.NumberFormat(language, { style: 'percent' });
const decimals = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const tenths = new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat(language);
const unspaced = (text) => (language === 'ja' ? text.replace(' ', '') : text); // Japanese has no space before a unit
const duration = (unit) => {
  const unitDisplay = language === 'ja' ? 'short' : 'narrow';
  const units = new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay });
  return (value) => unspaced(units.format(value));
};
const hours = duration('hour');
const minute = duration('minute');
const second = duration('second');

const dayFormat = (options) => new Intl.DateTimeFormat(language, { ...UTC, ...options });
const full = dayFormat({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const long = dayFormat({ day: 'numeric', month: 'long', year: 'numeric' });
const short = dayFormat({ day: 'numeric', month: 'short' });
const weekdays = {
  narrow: dayFormat({ weekday: 'narrow' }),
  short: dayFormat({ weekday: 'short' }),
  long: dayFormat({ weekday: 'long' }),
};
const months = {
  narrow: dayFormat({ month: 'narrow' }),
  short: dayFormat({ month: 'short' }),
  long: dayFormat({ month: 'long' }),
};
const monthYears = dayFormat({ month: 'short', year: 'numeric' });
const monthTicks = dayFormat({ month: language === 'ja' ? 'numeric' : 'short', year: 'numeric' });
const wholeHours = dayFormat({ hour: 'numeric', minute: language === 'ja' ? undefined : '2-digit' });
const clockTimes = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' });
const hours24 = new Intl.DateTimeFormat('en', { hour: 'numeric', hourCycle: 'h23' });
const dates = new Intl.DateTimeFormat('sv'); // 2024-03-29
const localDays = new Intl.DateTimeFormat(
  language, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const moments = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' });

const NONE = '–';

export const number = (value) => (value == null ? NONE : numbers.format(value));
export const signed = (value) => signs.format(value).replace('-', '−');
/** A rate in whole percent. Only all is 100%, and only none is 0%. */
export const percent = (rate) => (rate == null ? NONE : percents.format(between(rate, 0.01)));
export const share = (rate) => (rate == null ? NONE : rate < 0.1 ? tenths.format(between(rate, 0.001)) : percent(rate));

const between = (rate, step) => (rate > 0 && rate < 1 ? Math.min(Math.max(rate, step), 1 - step) : rate);

/** Round an estimate down to a multiple of 1 / `steps`; up, it may have been rounded by the API: 135.484 to 135.5. */
export const floor = (value, steps = 1) =>
  (value == null ? null : Math.floor((steps * value).toPrecision(12)) / steps);

/** An estimated recall. It is rounded down, so that an item under 70% does not show 70%. */
export const recallShare = (rate) => percent(rate == null ? null : floor(between(rate, 0.01), 100));

export const decimal = (value) => (value == null ? NONE : decimals.format(value));

/** Round the value to a multiple of 1 / `steps`, the precision in which the page shows it. */
export const rounded = (value, steps) =>
  (value == null ? null : Math.round((steps * value).toPrecision(12)) / steps);

export function minutes(value) {
  const whole = Math.floor(value / 60);
  const rest = minute(value % 60);
  return whole ? hours(whole) + t('gap') + rest : rest;
}

/** A number of seconds. Values below 10 s are rounded to tenths, other values to whole seconds. */
export const seconds = (value) => second(value < 10 ? Math.round(10 * value) / 10 : Math.round(value));

// A day is a string such as 2024-03-29, as in the API. It is independent of the browser's time zone.

export const instant = (day) => Date.parse(`${day}T00:00:00Z`);
export const dayAfter = (day, days) => dayOf(instant(day) + days * 86_400_000);
export const dayOf = (time) => new Date(time).toISOString().slice(0, 10);

export const weekdayOf = (day) => (new Date(instant(day)).getUTCDay() + 6) % 7; // Monday is 0

export const fullDay = (day) => full.format(instant(day));
export const longDay = (day) => long.format(instant(day));
export const shortDay = (day) => short.format(instant(day));
export const weekday = (day, how = 'short') => weekdays[how].format(instant(day));
/** A day that is near: a weekday, if it is one of the next six days, else a date; its year, if it is another one. */
export function nearDay(day, today) {
  if (today < day && day <= dayAfter(today, 6)) return weekday(day, 'long');
  return (day.slice(0, 4) === today.slice(0, 4) ? shortDay : longDay)(day);
}
export const month = (day, how = 'short') => months[how].format(instant(day));
/** The shortest name of a month. January is J in English and 1 in Japanese. */
export const monthSign = (day) => months.narrow.format(instant(day)).replace('月', '');
export const monthYear = (day) => monthYears.format(instant(day));
export const monthTick = (day) => monthTicks.format(instant(day));
export const hour = (value) => wholeHours.format(value * 3_600_000);
export function days(from, to) {
  if (language !== 'ja' || from === to) return long.formatRange(instant(from), instant(to));
  return `${longDay(from)}～${(to.startsWith(from.slice(0, 4)) ? shortDay : longDay)(to)}`; // Intl would use slashes
}

/** The time of day in the browser's time zone. */
export const clock = (time) => clockTimes.format(new Date(time));
/** The hour of the day in the browser's time zone, from 0 to 23. */
export const hourHere = () => Number(hours24.format(Date.now()));
/** The date of a time in the browser's time zone. */
export const localDate = (time) => dates.format(new Date(time));
export const localDay = (time) => localDays.format(new Date(time));
export const moment = (time) => moments.format(new Date(time));

let fixed = null;

/** The present or, if the page shows a past day, the end of that day, in milliseconds. */
export const now = () => fixed ?? Date.now();

/** Let now() return this time; null for the present. */
export const setNow = (time) => { fixed = time; };

/** The time until `time` in words, in the largest unit that fits ("in 3 days"). Less than a second counts as one. */
export const distance = (time) => relate(Date.parse(time) - now());

/** The time since `time`. A time in the future counts as now, because the browser's clock may be slow. */
export const ago = (time) => relate(Math.min(Date.parse(time) - now(), 0));

function relate(milliseconds) {
  const seconds = milliseconds / 1000;
  const units = [['year', 31_557_600], ['month', 2_629_800], ['day', 86_400], ['hour', 3_600], ['minute', 60]];
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  const count = Math.max(1, Math.trunc(Math.abs(seconds) / size));
  return unspaced(relative.format(seconds > 0 ? count : -count, unit));
}
