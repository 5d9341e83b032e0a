// The section "When". It shows the last sessions, the hours of the day, and the items that fall due on each day.

import { counts } from './charts.js';
import { h } from './dom.js';
import { fullDay, hour, minutes, number, percent } from './format.js';
import { parts, sentences, t } from './i18n.js';
import { wordsLink, wordsOf } from './items.js';
import { card, has, note, section, table, unfolded } from './layout.js';

const MIN_ANSWERS = 50; // an hour with fewer answers cannot be the best hour
const SHOWN_DAYS = 14; // with today

export const when = (data, { sessions }) => section('when', t('when.title'),
  has('when', data) && [
    lastSessions(data, sessions),
    data.hours?.length > 0 && hours(data.hours),
  ],
  has('due', data) && due(data));

/** While it is unknown whether there is a session, only a completed one promises the card. */
function lastSessions({ progress }, sessions) {
  const content = sessions ? sessions() : progress.totalSessionsCompleted > 0 && note(t('states.loading'));
  return content && card('sessions', t('sessions.title'), 'wide', content);
}

const hours = (rows) => card('hours', t('hours.title'), 'wide',
  note(summary(rows)),
  unfolded(t('hours.title'), table(
    [t('hours.from'), t('week.answers'), t('week.right')],
    rows.map((row) => [hour(row.hour), number(row.answers), percent(row.accuracyRate)]))));

function summary(rows) {
  const busiest = rows.reduce((most, row) => (row.answers > most.answers ? row : most));
  const enough = rows.filter((row) => row.answers >= MIN_ANSWERS);
  const best = enough.length > 1 && enough.reduce((most, row) => (row.accuracyRate > most.accuracyRate ? row : most));
  const span = (row) => ({ from: hour(row.hour), to: hour(row.hour + 1) });
  const texts = [t('hours.busiest', span(busiest))];
  if (best) texts.push(t('hours.best', { ...span(best), share: percent(best.accuracyRate) }));
  return sentences(texts);
}

/** Only today's column opens its words: the API lists none of the days ahead. */
function due(data) {
  const { due: rows, workload } = data;
  const pace = workload?.secondsPerAnswer;
  const time = (items) => (pace ? minutes(items && Math.ceil((items * pace) / 60 - 1e-9)) : '–');
  const shown = rows.slice(0, SHOWN_DAYS);
  const [today, ...later] = shown;
  const total = later.reduce((count, day) => count + day.items, 0);
  return card('due', t('due.title'), 'wide',
    h('p', { class: 'note', 'data-same': today.items ? 'next.due' : null },
      parts(today.items ? 'due.today' : 'due.none', {
        count: today.items, words: wordsLink(data, t('items.found', { count: today.items }), 'due'),
      }), t('gap'), t(total ? 'due.later' : 'due.nothing', { count: total, days: later.length })),
    shown.some((day) => day.items) && counts(shown.map(({ date, items }) => ({
      value: items, day: date, text: t('due.day', { day: fullDay(date), count: items }),
      href: date === today.date ? wordsOf(data, 'due') : null,
    }))),
    rows.some((day) => day.items) && unfolded(t('due.title'), table(
      [t('due.date'), t('due.items'), t('due.time')],
      rows.map((day) => [fullDay(day.date), number(day.items), time(day.items)]))));
}
