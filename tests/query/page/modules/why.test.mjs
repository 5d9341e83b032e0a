// What a number is made of: the days behind a streak, and the answers that count twice.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerWith, dayIn, inHours, NOW, page } from './page.mjs';

const KINDS = { s: 'STUDIED', r: 'REST', m: 'MISSED', o: 'OPEN' };
/** Days from 1 April on, each a kind and the length of its run. */
const daysOf = (text) => text.split(' ').map(([kind, run = 0], index) =>
  ({ date: `2024-04-0${index + 1}`, kind: KINDS[kind], run: Number(run) }));

for (const [days, rows] of [
  ['s2 s2 o', ['3', '2', '1']],
  ['s2 s2 m m s1 o', ['6', '5', '4', '3 ended 2', '2']],
  ['s1 m s2 r s2 r m m m', ['8-9', '7 ended 2', '6', '5']],
  ['m m s1', ['3', '1-2']],
]) {
  test(`the days of a streak go back to the run that ended last: ${days}`, async () => {
    const { rowsOf } = await page('streak_days');
    const number = (date) => date.slice(-1);
    const shown = rowsOf(daysOf(days)).map(({ date, until = date, ended }) =>
      [...new Set([number(date), number(until)])].join('-') + (ended ? ` ended ${ended}` : ''));
    assert.deepEqual(shown, rows);
  });
}

test('an answer counts twice if the device and the app have sent it within two seconds', async () => {
  const { countTwice } = await page('day_events');
  const answer = (at, postedBy, rating = 3, item = 'i') => (
    { eventType: 'CardReviewed', data: { item_id: item, rating }, postedBy, at });
  for (const [other, count] of [
    [answer(2000, null), 1], [answer(2001, null), 0], [answer(0, 'learner'), 0], [answer(0, null, 1), 0],
    [answer(0, null, 3, 'j'), 0],
  ]) assert.equal(countTwice([answer(0, 'learner'), other]), count);
});

test('the events of a day are in the order of their times, in whatever order they were recorded', async () => {
  const { loadDay } = await page('day_events');
  const edges = (...ms) => ms.map((at) => ({ node: { data: '{}', occurredAt: inHours(at / 3_600_000) } }));
  answerWith(({ variables: { after } }) => ({ span: {}, events: {
    pageInfo: { hasNextPage: !after, endCursor: 'c' }, edges: after ? edges(200) : edges(300, 100) } }));
  const { events } = await loadDay('ann', dayIn(0));
  assert.deepEqual(events.map(({ at }) => at % 1000), [100, 200, 300]);
});

test('an answer is late by whole minutes, at least one; without one, the day is over', async () => {
  const { StreakDays } = await page('streak_days');
  const end = NOW - 8 * 3_600_000;
  const reason = (ms) => StreakDays.prototype.reason.call({ user: null }, {
    day: dayIn(-1), end: new Date(end).toISOString(), first: ms && end + ms, uncounted: 0 }).textContent;
  assert.deepEqual([1, 119_999, 120_000].map((ms) => reason(ms).match(/04:0.: (.+) too late/)[1]), ['1m', '1m', '2m']);
  assert.match(reason(), /ended at 04:00 without an answer/);
  const [, days] = StreakDays.prototype.sections.call({ data: { rows: [] } });
  assert.equal(days.attributes['aria-label'], 'The days of your streak');
});
