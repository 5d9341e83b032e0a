// The learner's days: past days, the present one, and whose calendar counts.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { answerWith, Element, learner, page, PAGE, pageIn, range, stages, studyDay } from './page.mjs';

const HOUR_MS = 3_600_000;

// The learner's days come from the API. Only they have the learner's zone and start hour.
test('no module takes a day from the calendar of the browser', () => {
  const days = new RegExp([/new Date\(\)/, /\.(?:get|set)(?:FullYear|Month|Date|Day|Hours)\(/, /getTimezoneOffset/,
    /toLocaleDate/, /T\d\d:\d\d(?::[\d.]+)?`/].map(({ source }) => source).join('|')); // the last one has no zone
  for (const name of readdirSync(PAGE).filter((name) => name.endsWith('.js'))) {
    assert.doesNotMatch(readFileSync(new URL(name, PAGE), 'utf8'), days, name);
  }
});

test('a past day is shown as of its last microsecond', async () => {
  const { microsecondBefore } = await page('past_day');
  for (const [end, before] of [
    ['2024-03-02T05:00:00Z', '2024-03-02T04:59:59.999999Z'],
    ['2024-03-01T00:00:00.000000Z', '2024-02-29T23:59:59.999999Z'],
    ['2024-03-02T05:00:00.000001Z', '2024-03-02T05:00:00.000000Z'],
    ['2024-03-02T05:00:00.1Z', '2024-03-02T05:00:00.099999Z'],
  ]) assert.equal(microsecondBefore(end), before);
});

// Fields without a past do not begin with `(userId: $user`.
test('a query about the past asks each field of the learner as of then', async () => {
  const { ask, QUERY, select } = await page('past_day', 'query');
  const bodies = [];
  answerWith((body) => {
    bodies.push(body);
    return { localDay: { end: '2024-03-02T05:00:00Z' } };
  });
  for (const day of [null, '2024-03-01', null]) {
    await select('u', day);
    await ask(QUERY, { user: 'u' });
  }
  const [present, past, again] = bodies.filter(({ query }) => !query.startsWith('query Day'));
  assert.deepEqual(again, present);
  assert(!present.query.includes('asOf'));
  assert.deepEqual(past.variables, { user: 'u', asOf: '2024-03-02T04:59:59.999999Z' });
  assert.equal(past.query.split('asOf: $asOf').length, present.query.split('(userId: $user').length);
});

for (const [chosen, shown] of [[['2024-03-01', null], null], [['2024-03-01', '2024-03-02'], '2024-03-02']]) {
  test(`a past day that arrives late is not shown instead of ${shown ?? 'now'}`, async () => {
    const { pastDay, select } = await page('past_day');
    const responses = [];
    answerWith(() => new Promise((respond) => { responses.unshift(respond); }));
    const selected = chosen.map((day) => select('u', day));
    while (responses.length < chosen.filter(Boolean).length) await new Promise((done) => setTimeout(done));
    for (const respond of responses) {
      respond({ localDay: { end: '2024-03-03T05:00:00Z' } });
      await new Promise((done) => setTimeout(done, 9));
    }
    await Promise.all(selected);
    assert.equal(pastDay(), shown);
  });
}

test('the day of a learner and its end are learned with one request', async () => {
  const { learnToday, presentDay, untilTomorrow } = await page('past_day');
  Date.now = () => Date.parse('2024-03-11T01:00:00Z');
  const seen = () => [presentDay(), untilTomorrow()];
  assert.deepEqual(seen(), [null, null]);
  for (const [date, left] of [
    ['2024-03-09', -42 * HOUR_MS], ['2024-03-12', 30 * HOUR_MS], ['2024-05-01', null], // the clock is wrong by weeks
  ]) {
    let requests = 0;
    answerWith(({ query }) => {
      requests += 1;
      const days = [...query.matchAll(/(d\d): localDay\(userId: \$user, date: "(.+?)"/g)];
      return { today: [{ date }],
        ...Object.fromEntries(days.map(([, name, day]) => [name, { date: day, end: `${day}T07:00:00Z` }])) };
    });
    await learnToday('ann');
    assert.deepEqual([...seen(), requests], [date, left, 1]);
  }
});

test('the day of a learner that arrives late is not that of the learner of the next view', async () => {
  const { learnToday, presentDay } = await page('past_day');
  const responses = [];
  answerWith(() => new Promise((respond) => { responses.unshift(respond); }));
  const learned = ['ann', 'bob'].map(learnToday);
  while (responses.length < 2) await new Promise((done) => setTimeout(done));
  for (const [index, date] of ['2024-03-11', '2024-03-10'].entries()) {
    responses[index]({ today: [{ date }] });
    await new Promise((done) => setTimeout(done, 9));
  }
  await Promise.all(learned);
  assert.equal(presentDay(), '2024-03-11');
});

for (const [start, startedAt, day] of [ // a day in UTC begins at this hour of this distance to its date
  [2, '2023-04-04T15:56:00Z', '4 Apr'], // Berlin, 4:00; in Tokyo, it is the day after
  [2, '2023-04-05T01:59:59Z', '4 Apr'],
  [2, '2023-04-05T02:00:00Z', '5 Apr'],
  [-14, '2023-04-04T10:00:00Z', '5 Apr'], // Kiritimati
  [31, '2023-04-04T06:00:00Z', '2 Apr'], // Los Angeles, 23:00
]) {
  test(`a session is on the day of the learner: ${startedAt}, ${start} hours`, async () => {
    const { load } = await pageIn({ zone: 'Asia/Tokyo' }, 'sessions_card');
    const edges = range(9, (ago) => ({ node: {
      id: 's', startedAt: new Date(Date.parse(startedAt) - 96 * HOUR_MS * ago).toISOString() } }));
    const at = (date, ahead) => new Date(Date.parse(`${date}T00:00Z`) + (start + ahead) * HOUR_MS).toISOString();
    answerWith(({ query, variables }) => {
      const days = [...query.matchAll(/localDay\(userId: \$(u\d+), date: "(.+?)"/g)];
      assert(days.length <= 30);
      if (!days.length) return { sessions: { edges } };
      return Object.fromEntries(days.map(([, user, date], index) => [`d${index}`,
        variables[user] === 'ann' && { date, start: at(date, 0), end: at(date, 24) }]));
    });
    const [newest] = (await load('ann'))().tags('a');
    assert.equal(newest.textContent, day);
  });
}

test('who has no session has no card of sessions', async () => {
  const { load, when } = await page('sessions_card', 'when_section');
  answerWith(() => ({ sessions: { edges: [] } }));
  const none = await load('ann');
  const show = (sessions, totalSessionsCompleted) => {
    const progress = { masteryStats: stages(9), totalItemsLearned: 20, totalSessionsCompleted };
    const hours = [{ hour: 9, answers: 60, accuracyRate: 1 }];
    return when(learner({ progress, hours, due: [] }), { sessions }).find('sessions')?.textContent;
  };
  const loading = 'Last sessionsLoading …';
  assert.deepEqual([show(null, 0), show(null, 1), show(none, 0)], [undefined, loading, undefined]);
});

test('the day of the first answer comes from a complete history', async () => {
  const days = [{ date: '2024-03-05', answers: 1 }, { date: '2024-03-02', answers: 2 }];
  for (const zone of ['America/New_York', 'Asia/Tokyo']) {
    const { firstAnswer } = await pageIn({ zone }, 'item_page');
    Date.now = () => Date.parse('2026-03-11T01:00:00Z');
    const first = (answers) => firstAnswer({ answers, firstAnsweredAt: '2024-03-01T23:30:00Z' }, { days });
    assert.deepEqual([first(3), first(4)], ['2 March 2024', '2 years ago']);
  }
});

for (const [year, day, from, to] of [ // the range has 2026 and 2027
  ['recent', '2027-01-01', '2025-12-29', '2025-12-31'], // a Friday
  ['recent', '2027-01-03', '2025-12-29', '2025-12-31'],
  ['recent', '2027-01-04'], // 53 weeks since 5 January 2026
  ['recent', '2026-12-31', '2025-12-29', '2025-12-31'], // it is 2027 elsewhere
  ['recent', '2027-12-31'], // its last week ends in 2028
  [2027, '2027-01-01'],
  [2026, '2027-01-01'],
  [2025, '2027-01-01', '2025-01-01', '2025-12-31'],
  // The browser's clock is a week, or years, slow; or years fast.
  ['recent', '2028-01-02', '2028-01-01', '2028-01-02'],
  ['recent', '2035-06-01', '2034-05-29', '2035-06-01'],
  [2035, '2035-06-01', '2035-01-01', '2035-06-01'],
  ['recent', '2016-06-01', '2015-06-01', '2016-06-01'],
]) {
  test(`only days that the first query does not have are loaded for the grid: ${year}, ${day}`, async () => {
    const { daysOutside, spanOf } = await page('year');
    const missing = daysOutside({ from: '2026-01-01', to: '2027-12-31' }, spanOf(year, day), day);
    assert.deepEqual(missing, from ? { from, to } : null);
  });
}

// A day is shown as the present or, at a time, as a chosen day.
for (const [day, time, isWeekOpen, isMonthOpen, year] of [
  ['2024-03-09', null, true, true, 'My 2024 so far'], // a Saturday
  ['2024-03-10', null, true, true, 'My 2024 so far'],
  ['2024-03-10', '2024-03-10T12:00Z', true, true, 'My 2024 so far'],
  ['2024-03-10', '2024-03-11T12:00Z', false, true, 'My 2024 so far'],
  ['2024-03-09', '2024-03-11T12:00Z', true, true, 'My 2024 so far'],
  ['2024-02-29', null, true, true, 'My 2024 so far'],
  ['2024-02-29', '2024-03-01T12:00Z', true, false, 'My 2024 so far'],
  ['2023-12-31', null, true, true, 'My 2023 so far'], // a Sunday
  ['2023-12-31', '2024-01-01T12:00Z', false, false, 'My 2023'],
]) {
  test(`a period is open until its last day is over: ${day}, seen at ${time}`, async () => {
    const { cards, dayAfter, improving, select } = await page('format', 'improving', 'past_day', 'review');
    answerWith(() => ({ localDay: { end: `${dayAfter(day, 1)}T00:00:00Z` } }));
    Date.now = () => Date.parse(time ?? `${day}T20:00Z`);
    await select('ann', time && day);
    const days = new Map([-60, 0].map((n) => studyDay(dayAfter(day, n))));
    const studied = { days, day, restDays: new Set(), isOwn: true };
    const section = improving(studied, { range: 'quarter' });
    const [weeks, mastered] = ['weeks', 'mastered'].map((key) => section.find(key));
    const [review, table] = cards(studied, Number(day.slice(0, 4)));
    const hasOpen = (drawing) => drawing.all.some(({ name, attributes }) =>
      name === 'rect' && attributes.class?.includes('unfinished'));
    const isOpen = ({ textContent }) => textContent.includes('so far');
    const newest = (card) => card.tags('tbody')[0].children[0];
    assert.deepEqual([hasOpen(weeks.tags('svg')[0]), isOpen(newest(weeks))], [isWeekOpen, isWeekOpen]);
    const months = [hasOpen(mastered), isOpen(mastered.tags('p')[0]), isOpen(mastered.tags('ol')[0]),
      isOpen(newest(table)), hasOpen(review.tags('rect')[Number(day.slice(5, 7)) - 1])];
    assert.deepEqual(months, Array(5).fill(isMonthOpen));
    assert.equal(review.tags('h3')[0].textContent, year);
  });
}

for (const [day, time, newest, answers] of [
  [null, '2024-03-10T12:00Z', '4 Mar, so far', 20],
  ['2024-03-10', '2024-03-10T12:00Z', '4 Mar, so far', 20],
  ['2024-03-10', '2024-03-12T12:00Z', '4 Mar', 30],
  ['2024-03-09', '2024-03-12T12:00Z', '4 Mar, so far', 20],
]) {
  test(`the week of a group is open until its last day is over: ${day}, seen at ${time}`, async () => {
    const { dayAfter, Group, h } = await page('dom', 'format', 'group');
    Date.now = () => Date.parse(time);
    Object.assign(globalThis, {
      reportError(error) { throw error; }, location: { hash: '#/group/g' }, IntersectionObserver: class { disconnect() {} } });
    const weeks = ['2024-02-19', '2024-02-26', '2024-03-04'].map((start, index) =>
      ({ start, answers: 10 * (index + 1), activeMembers: 1, accuracyRate: 1 }));
    const group = { weeks, members: 1, itemsFading: [], knowledge: { items: 0, expected: 0 }, tasks: { edges: [] },
      hardestItems: [{ itemId: 'i', learners: 3, answers: 18, accuracyRate: 0.86 }] };
    const node = { userId: 'ann', riskReasons: [], weeks, answersLast7Days: 3, accuracyLast7Days: 0 };
    const learners = { totalCount: 1, pageInfo: { hasNextPage: false }, edges: [{ node }] };
    const lists = []; // the variables of each query of the list of learners
    answerWith(({ query, variables }) => {
      if (variables.order) lists.push(variables);
      if (query.startsWith('query Each')) return { d0: { end: `${dayAfter(day, 1)}T04:00:00Z` } };
      return { group, learners };
    });
    class Shown extends Group { draw() {} follow() {} }
    const view = new Shown(new Element('main'), 'g', new URLSearchParams(day ? { on: day } : ''), { named() {} });
    await view.naming;
    assert.equal(view.problem ?? null, null);
    const [trend, hardest, list] = ['trend', 'hardest', 'learners'].map((key) => h('main', null, view.sections()).find(key));
    assert.equal(trend.tags('tbody')[0].children.at(-1).children[0].textContent, newest);
    assert.equal(trend.tags('p')[0].textContent,
      `The last whole week has ${answers} answers: +10 against the week before.`);
    assert.match(hardest.textContent, /^Hardest wordsNo word is hard/); // 86% are right
    assert.match(list.textContent, /ann.*30%/); // of three answers, none is right
    const asOf = day && `${dayAfter(day, 1)}T03:59:59.999999Z`; // the end of the members' day
    for (const [range, since, days] of [
      [{}, null, 7], [{ weeks: 4 }, '2024-02-19', null], [{ weeks: 1, since: '2024-03-01' }, '2024-03-01', null],
    ]) {
      Object.assign(view, range);
      await view.load();
      const asked = lists.at(-1);
      assert.deepEqual([asked.since ?? null, asked.days ?? null, asked.asOf ?? null], [since, days, asOf]);
    }
    view.close();
  });
}
