// Charts and comparisons: their periods, lines, scales and labels.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cells, dayIn, Element, learner, NOW, page, pageIn, range, studyDay, textsOf } from './page.mjs';

test('a shown change is the difference of the shown values', async () => {
  const { improving } = await page('improving');
  const row = (date, answers, correctAnswers, averageResponseMs, studySeconds) =>
    studyDay(date, { answers, correctAnswers, averageResponseMs, studySeconds });
  const days = new Map([row(dayIn(-35), 1000, 754, 4040, 1000), row(dayIn(0), 500, 398, 4160, 14_400)]);
  const rows = improving({ days, day: dayIn(0) }).find('comparison').children[1].children[1].children;
  const mark = ({ children }) => children[3].children[0].attributes?.class;
  assert.deepEqual(cells(rows).slice(0, 4).map((texts, index) => [...texts, mark(rows[index])]), [
    ['Answers', '500', '1,000', '−500', undefined], // not marked as worse: today is not over
    ['Answered right', '80%', '75%', '+5 points', 'up'],
    ['Seconds per answer', '4.2', '4.0', '+0.2', undefined], // slow answers may be careful ones
    ['Study time', '4h 0m', '16m', '+3h 44m', undefined], // perhaps a session that was left open
  ]);
});

test('a sum of days counts study days and averages timed answers', async () => {
  const { byDate, decimal, pace, sum } = await page('format', 'periods', 'query');
  const row = (n, answers, averageResponseMs, more) => ({
    date: dayIn(n), answers, averageResponseMs, correctAnswers: answers, studySeconds: 0, sessionsCompleted: 0, ...more });
  const days = new Map(byDate([
    row(-4, 60, 2_000), row(-3, 1, 60_000), row(-2, 5, null, { studySeconds: 100_800 }), row(-1, 0, null),
    row(0, 0, null, { sessionsCompleted: 1 })]));
  const total = (from) => sum(days, dayIn(from), dayIn(0));
  assert.deepEqual([total(-4).activeDays, total(-4).studySeconds], [4, 24 * 3600]);
  assert.equal(decimal(pace(total(-4))), '3.0'); // (60 × 2 s + 60 s) ÷ 61
  assert.equal(decimal(pace(total(-2))), '–');
});

// Up to seven counts stand above their columns; more columns have ticks. More than two years of weeks are months.
test('charts have the periods of their range since the first answer', async () => {
  const { improving } = await page('improving');
  for (const [range, first, names, ticks, weeks, width] of [
    ['month', -2920, 2, 0, 5, 8], ['quarter', -2920, 4, 0, 13, 8], ['year', -2920, 0, 12, 53, 2],
    ['all', -2920, 0, 9, 97, 1], ['year', -70, 3, 0, 11, 8],
  ]) {
    const days = new Map([first, 0].map((n) => studyDay(dayIn(n))));
    const section = improving({ days, day: dayIn(0) }, { range });
    const [mastered, columns] = ['mastered', 'weeks'].map((key) => section.find(key));
    const found = [mastered.tags('li'), mastered.tags('g'), columns.tags('g')].map(({ length }) => length);
    assert.deepEqual(found, [names, ticks, weeks]);
    assert.equal(Math.round(parseFloat(columns.tags('rect')[0].attributes.width)), width); // in percent
  }
});

test('states end with the progress and a long course has months', async () => {
  const { states } = await page('states');
  const counts = { learning: 2, shortTermMastered: 3, longTermMastered: 4 };
  const masteryStats = { ...counts, learning: 9, unlearned: 5 };
  const show = (count, first, more) => states(
    range(count, (n) => ({ start: dayIn(7 * (n - count + 1)), end: dayIn(7 * (n - count + 1) + 6), ...counts })),
    learner({ progress: { masteryStats }, days: new Map([studyDay(dayIn(first ?? 7 - 7 * count))]), ...more }));
  assert.equal(show(53)[2].tags('g').length, 53);
  assert.equal(show(626)[2].tags('g').length, 145); // twelve years
  const now = 'Now 9 learning, 3 known, 4 lasting';
  // The new words of a learner who has answered no described word are those of the lists, of which others see some.
  const domains = [{ domain: 'R', itemsStudied: 1 }];
  for (const [unmet, language, said, more] of [
    [7, 'ja', '; 5 new.'], [7, 'und', '; 7 new.'], [0, 'und', '; 0 new.'], [null, 'und', '; 5 new.'],
    [undefined, 'und', '.'], [null, 'und', '.', { user: 'ann' }], [7, 'und', '; 5 new.', { domains }],
  ]) assert.equal(show(2, undefined, { languages: [{ language }], unmet, ...more })[1].textContent, now + said);
  // After an import, the batch has not counted the weeks since the first answer yet.
  const marks = [[1, 0], [1, -7], [2, -7], [2, -8]].map(([count, first]) => show(count, first)[0].textContent);
  const counting = 'Being counted: complete within five minutes';
  assert.deepEqual(marks, [undefined, counting, undefined, counting]);
});

for (const [said, ...forgotten] of [
  ['expected to be known', 0, 4, 40],
  ['The line is what was answered once', 2, 9, 5],
  ['About 6 answered words are expected to be forgotten, now as before.', 5, 5, 5.4],
]) {
  test(`lines that nearly coincide become their gap and a flat gap a sentence: ${said}`, async () => {
    const { Knowledge } = await page('knowledge');
    const curve = forgotten.map((some, n) => ({
      start: dayIn(7 * n), end: dayIn(7 * n + 6), items: 100, expected: 100 - some }));
    document.querySelector = () => ({ content: 'https://app.example?{filter}' });
    const user = forgotten[0] ? 'ann' : null; // who alone practises
    const view = Object.assign(Object.create(Knowledge.prototype), { user, day: null, data: {
      at: NOW, knowledge: { on: dayIn(0), items: 100, expected: 90, fading: 0, levels: [] }, curve, languages: [],
      fading: { totalCount: 1, edges: [{ node: { itemId: 'oak' } }] }, calibration: null, today: [{ date: dayIn(0) }],
      distribution: ['RECALL', 'INTERVAL_DAYS'].map((measure) => ({ measure, atLeast: 0, items: 1 })) } });
    const main = new Element('main');
    main.append(...view.sections());
    const text = main.find('curve').all
      .map(({ attributes, textContent }) => `${attributes['aria-label']} ${textContent}`).join(' ');
    assert(text.includes(said));
    assert.equal(main.find('app')?.attributes.href, user ? undefined : 'https://app.example?FADING');
    assert.equal(text.includes('as a table'), forgotten[0] !== forgotten[1]);
  });
}

test('a timeline begins with the first event and has steps of days', async () => {
  // In New York, the short history contains a day of 23 hours (10 March 2024).
  for (const zone of ['America/New_York', 'Asia/Tokyo']) {
    const { timeline } = await pageIn({ zone }, 'item_page');
    const days = (oldest) => range(oldest + 1, (ago) => ({ date: dayIn(-ago), answers: 2, correctAnswers: 1 }));
    const reviews = [{ at: new Date(NOW - 3_600_000).toISOString(), intervalDays: 4 }];
    const [first, short, long] = [0, 59, 700].map((oldest) => timeline(reviews, days(oldest), dayIn(0)));
    assert.deepEqual(first.map(({ right }) => right), [1]);
    assert(short.every(({ right }) => right === 1));
    assert.deepEqual([first.at(-1), short[0], long[0]].map(({ day }) => day), ['2024-03-11', '2024-01-12', '2022-04-11']);
    assert.equal(new Set(short.map(({ day }) => day)).size, 60);
    assert.equal(long.reduce((sum, { right, wrong }) => sum + right + wrong, 0), 2 * 701);
    for (const steps of [first, short, long]) assert.equal(steps.at(-1).intervalDays, 4);
  }
});

test('a scale ends at an even number slightly above the counts', async () => {
  const { roundUp } = await page('charts');
  assert.deepEqual(range(8, roundUp), [2, 2, 2, 4, 4, 6, 6, 8]);
  for (let most = 1; most < 3000; most += 1) {
    const top = roundUp(most);
    assert(top % 2 === 0 && most <= top && top <= Math.max(1.5 * most, 2), `${most}: ${top}`);
  }
});

// In a tested year, all days have the same number of answers, or each has a random number.
test('many answers have the darkest shade and no shade is skipped', async () => {
  const { scaleOf, shade } = await page('year');
  let seed = 13;
  const draw = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const normal = () => Math.sqrt(-2 * Math.log(draw())) * Math.cos(2 * Math.PI * draw());
  const answersOf = (spread) => () => Math.min(2_000, Math.floor(Math.exp(3 + spread * normal())));
  const years = [1, 3, 4, 20, 500].map((answers) => Array(88).fill(answers));
  for (const spread of [0.1, 0.5, 1, 2, 3]) {
    years.push(...range(20, () => range(1 + Math.floor(366 * draw()), answersOf(spread))));
  }
  for (const answers of years) {
    const scale = scaleOf(answers);
    const shades = range(Math.max(...answers) + 2, (n) => shade(n, scale));
    assert.equal(shades[0], 0);
    assert(shades.slice(1).every((each, index) => each > 0 && [0, 1].includes(each - shades[index])));
    const ranking = answers.filter(Boolean).sort((one, other) => one - other);
    const most = ranking[Math.ceil(0.9 * ranking.length) - 1];
    if (most >= 4) assert.deepEqual([shades[most], shades[Math.floor(most / 4)]], [4, 1]);
  }
});

test('an unfinished month is compared with the same days before it', async () => {
  const { improving, review } = await page('improving', 'review');
  const day = '2024-03-11';
  const counts = [['2024-02-11', 5], ['2024-02-12', 9], ['2024-03-02', 3], [day, 4]];
  const days = new Map(counts.map(([date, newMasteryCount]) => studyDay(date, { newMasteryCount })));
  const mastered = (days, progress) => improving({ days, progress, day }).find('mastered').textContent;
  assert.match(mastered(days), /March so far: 7; in the same days of February: 5\./);
  assert.match(mastered(days), /March, so far: 7 words/);
  assert.match(mastered(days), /Since 1 February 2024, 21 words were newly mastered/);
  const progress = { masteryStats: { shortTermMastered: 0, longTermMastered: 21 } };
  assert.match(mastered(new Map(), progress), /no word was known for the first time/);
  const skyline = review({ days, day, restDays: new Set() }, 2024).children
    .find(({ attributes }) => attributes.class === 'skyline').children[0].children;
  const columns = skyline.slice(0, 3).map(({ attributes }) => attributes.class ?? null);
  assert.deepEqual(columns, [null, null, 'unfinished']);
});

test('points and labels stand at the middle of their columns', async () => {
  const { axis, lines } = await page('charts', 'line_charts');
  const below = axis([[2, 'Feb']], 4);
  const drawn = (...values) => lines([{ name: 'mature', values }], [1, 3], 'chart', String, below).children[0].children;
  const last = ({ children }) => children.at(-1).attributes;
  const [ticks, drawing] = drawn(1, 2, 3, 1);
  assert.deepEqual([...last(drawing).d.matchAll(/[ML]([\d.]+),/g)].map(([, x]) => x), ['12.5', '37.5', '62.5', '87.5']);
  assert.deepEqual([last(below).x, last(below)['text-anchor']], ['62.5%', 'middle']);
  assert.deepEqual(textsOf(ticks.children), ['3', '2', '1']);
  const ended = (...values) => drawn(...values)[2].children.map((one) => [one.attributes.x, one.textContent]);
  assert.deepEqual(ended(1, 2, 3, 1), [['87.5%', '1']]);
  assert.deepEqual(ended(1, 2, null, null), [['37.5%', '2']]); // a line that ended has its label there
  assert.deepEqual(ended(null, null), []);
  assert.equal(last(drawn(null, 2, null, null)[1]).class, 'mature dot');
});

test('the curve names today where it is and rounds estimates down', async () => {
  const { curve, dayAxis } = await page('item_page');
  const points = [[-300, 0.9], [0, 0.8], [12, 0.6999]].map(([ahead, after]) =>
    ({ date: dayIn(ahead), before: after, after }));
  const edges = { from: Date.parse(dayIn(-300)), to: Date.parse(dayIn(13)) };
  const [chart] = curve(points, dayIn(0), [], edges);
  assert.match(chart.textContent, /69%$/);
  const labels = dayAxis(dayIn(-300), dayIn(0), dayIn(12), edges).tags('text');
  assert.deepEqual(textsOf(labels), ['16 May', '13 Oct', 'today']);
  const x = parseFloat(labels.at(-1).attributes.x);
  assert(95 < x && x < 97);
});
