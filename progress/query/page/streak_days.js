// The days behind the streak: those of the run, and the day that ended the former one, with how late the answer came.

import { runQuery } from './api.js';
import { isStudy, loadDay } from './day_events.js';
import { h } from './dom.js';
import { clock, dayAfter, days, fullDay, longDay, minutes, moment } from './format.js';
import { join, t } from './i18n.js';
import { dayPage, seesEvents } from './items.js';
import { note, table } from './layout.js';
import { ask } from './past_day.js';
import { View } from './problems.js';

const TODAY = 'query Today($user: ID) { due: dueForecast(userId: $user, days: 1) { date } }';
const QUERY = `query StreakDays($user: ID, $from: Date!, $to: Date!) {
  days: streakDays(userId: $user, from: $from, to: $to) { date kind run answers sessionsCompleted }
}`;
const END = 'query End($user: ID, $day: Date!) { span: localDay(userId: $user, date: $day) { end } }';
const MOST_DAYS = 400;

/**
 * The days to show, newest first: back to the last study day of the run that ended last, or all. The day that ended it
 * has its length as `ended`. Other missed days are one row, from `date` to `until`.
 */
export function rowsOf(found) {
  const rows = [];
  for (const [at, day] of [...found.entries()].reverse()) {
    const before = found.slice(0, at).findLastIndex(({ kind }) => kind !== 'REST');
    const ended = day.kind === 'MISSED' && found[before]?.run;
    const last = rows.at(-1);
    if (ended) return [...rows, { ...day, ended }, ...found.slice(before, at).reverse()];
    if (day.kind === 'MISSED' && last?.kind === 'MISSED') last.date = day.date;
    else rows.push({ ...day, until: day.date });
  }
  return rows;
}

export class StreakDays extends View {
  constructor(element, user, shell) {
    super(element, shell, { user });
    this.load();
  }

  async read(signal) {
    const { user } = this;
    const { data: { due: [{ date: to }] } } = await ask(TODAY, { user }, signal);
    const { data } = await ask(QUERY, { user, from: dayAfter(to, 1 - MOST_DAYS), to }, signal);
    const rows = rowsOf(data.days);
    const at = rows.findIndex(({ ended }) => ended);
    return { rows, why: at >= 0 && await this.explain(rows[at].date, rows[at - 1], signal) };
  }

  /** Find when a day ended, what of its answers does not count, and when the next day's first answer came. */
  async explain(day, next, signal) {
    const { user } = this;
    if (!seesEvents(user)) return { day, end: (await runQuery(END, { user, day }, signal)).data.span.end };
    const { span: { end }, events } = await loadDay(user, day, signal);
    const later = next?.until === dayAfter(day, 1) ? (await loadDay(user, next.until, signal)).events : [];
    const first = later.find((event) => event.counted === 'COUNTED' && isStudy(event));
    return { day, end, first: first?.at, uncounted: events.filter(isStudy).length };
  }

  sections() {
    const [title, { rows, why }] = [t('why.streak'), this.data];
    const name = ({ date, until = date }) => (date === until ? fullDay(date) : days(date, until));
    const door = (row, href) => (href && name(row) === fullDay(row.date) ? h('a', { href }, name(row)) : name(row));
    return [
      h('h1', { 'data-key': 'title' }, title),
      h('section', { class: 'card wide', 'aria-label': title, 'data-key': 'streak' },
        why && this.reason(why),
        rows.length
          ? table([t('sessions.when'), t('why.what')],
            rows.map((row) => [door(row, dayPage(row.date, this.user)), describe(row)]))
          : note(t('streak.begins'))),
    ];
  }

  reason({ day, end, first, uncounted }) {
    const time = this.user ? moment : clock;
    const late = first && minutes(Math.max(1, Math.floor((first - Date.parse(end)) / 60_000)));
    const values = { day: longDay(day), end: time(end), at: first && time(first), late };
    return h('p', { 'data-key': 'reason' }, t(late ? 'why.late' : 'why.over', values), uncounted > 0 && [
      ' ', h('a', { href: dayPage(day, this.user) }, t('why.uncounted', { count: uncounted })),
    ]);
  }
}

const describe = ({ kind, ended, answers, sessionsCompleted: sessions }) => join(
  t(`why.kind.${kind}`), answers > 0 && t('count.answers', { count: answers }),
  sessions > 0 && t('count.sessions', { count: sessions }), ended && t('why.ended', { count: ended }));
