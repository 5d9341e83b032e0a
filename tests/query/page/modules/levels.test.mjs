// The section "How far": levels, scales and skills, and when they are counted.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerWith, cells, dayIn, inHours, learner, page, pageIn, stages, studyDay } from './page.mjs';

test('the footer says that all is counted once the levels are', async () => {
  const { freshness, howFar } = await page('freshness', 'how_far');
  const levels = [{ level: 'A1', catalogueItems: 9, progressRate: 0, ...stages(1) }];
  const domains = ['R', 'L'].map((domain, accuracyRate) =>
    ({ ...levels[0], domain, accuracyRate, itemsStudied: 1, answers: 20 }));
  const show = (learning, realtime, batch) => {
    const projections = [['daily_stats', realtime], ['level_stats', batch]].map(([name, status]) =>
      ({ name, status, eventsBehind: 0, secondsBehind: 0 }));
    const progress = { lastUpdated: inHours(-1), masteryStats: stages(learning) };
    const data = learner({ projections, levels, domains, progress });
    const marks = ['levels', 'skills'].map((key) =>
      howFar(data).find(key).children[1].textContent.split(':')[1]?.trim());
    return [/Everything recorded so far is counted\./.test(freshness(data).textContent), ...marks];
  };
  assert.deepEqual(show(1, 'CRITICAL', 'NORMAL'), [true, undefined, undefined]);
  const [soon, later] = ['complete within five minutes', 'later than usual'];
  assert.deepEqual(show(2, 'NORMAL', 'NORMAL'), [false, soon, soon]);
  assert.deepEqual(show(2, 'NORMAL', 'CRITICAL'), [false, later, later]);
});

test('the levels of a language are counted once they have its items', async () => {
  const { isBatchPending } = await page('freshness');
  const isPending = (itemsStudied) => isBatchPending({
    levels: [{ level: 'A1', itemsStudied: 2, learning: 2 }], projections: [], language: 'de',
    languages: [{ language: 'fr', itemsStudied: 3 }, { language: 'de', itemsStudied }],
    progress: { masteryStats: { learning: 5, shortTermMastered: 0, longTermMastered: 0 } } });
  assert.deepEqual([2, 3].map(isPending), [false, true]);
});

// The catalogue has no C2 items in the learner's languages.
test('uncounted levels have dashes and only the next two have dates', async () => {
  const { howFar } = await page('how_far');
  const show = (studied) => {
    const level = (level, more) => ({
      level, catalogueItems: 9, itemsStudied: 0, progressRate: 0, masteredLast28Days: 0, expectedDate: '2025-01-01',
      reached: false, ...stages(0), ...more });
    const levels = [
      level('A1', { reached: true, itemsStudied: studied, ...stages(studied) }),
      level('A2', { longTermMastered: studied && 3, progressRate: 3 / 9 }), level('B1'), level('B2'), level('C2', { catalogueItems: 0 })];
    const progress = { masteryStats: { ...stages(7), longTermMastered: 3 } };
    const card = howFar(learner({ levels, domains: levels, progress })).find('levels');
    return [card.textContent, cells(card.tags('tbody')[0].children)];
  };
  const [before, uncounted] = show(0);
  assert.doesNotMatch(before, /current level/);
  assert.deepEqual(uncounted, ['A1', 'A2', 'B1', 'B2'].map((level) => [level, '–', '–', '–']));
  const [after, rows] = show(7);
  assert.match(after, /The current level is A2\./);
  assert.match(after, /Reached at 80%: 5 more words\. At  a day until Tuesday\./);
  assert.deepEqual(rows.map((row) => [row[0], row.at(-1)]),
    [['A1', 'already'], ['A2', 'Jan 2025'], ['B1', 'Jan 2025'], ['B2', '–']]);
});

test('a learner of words without a level has no current level', async () => {
  const { howFar } = await page('how_far');
  const level = (level, catalogueItems, itemsStudied) =>
    ({ ...stages(itemsStudied), level, catalogueItems, itemsStudied });
  for (const levels of [[level('A1', 9, 0)], []]) {
    const data = { progress: { masteryStats: stages(7) }, levels: [...levels, level('UNKNOWN', 9, 7)] };
    const card = howFar(learner(data)).find('levels');
    assert.equal(card.textContent, 'LevelsNone of the words studied so far has a level.Lists');
    assert.deepEqual(card.tags('table'), []);
  }
  const row = { ...level('UNKNOWN', 9, 7), masteredLast28Days: 0 };
  const card = howFar(learner({ progress: { masteryStats: stages(7) }, levels: [row] })).find('levels');
  assert.equal(card.tags('p').length, 1); // without a table, nothing says when it has a date
});

// Who knows no level of CEFR sees another scale without a choice.
test('the levels of another scale begin with the next one', async () => {
  const { howFar } = await page('how_far');
  const all = ['n5', 'n4', 'n3', 'n2', 'n1', 'x1', 'x2', 'x3'].map((id) => ({
    ...stages(0), id, name: null, itemsStudied: 0, reached: false, catalogueItems: 10, progressRate: 0,
    masteredLast28Days: 0 }));
  Object.assign(all[0], { name: 'N5', itemsStudied: 9, reached: true });
  Object.assign(all[1], { own: true, longTermMastered: 2, progressRate: 0.2, expectedDate: '2024-06-01' });
  const show = (rows, scale) => {
    const levels = [{ level: 'UNKNOWN', ...stages(9), catalogueItems: 9, itemsStudied: 9 }];
    const data = learner({ levels, progress: { masteryStats: stages(9) } });
    const card = howFar(data, { scales: [{ name: 'JLPT', rows }], scale }).find('levels');
    const [chosen] = card.tags('option').filter(({ attributes }) => 'selected' in attributes);
    return [chosen.textContent, card.find('lists')?.textContent, card.tags('p')[0].textContent,
      ...cells(card.tags('tr').slice(1)).map(([name, , , date]) => `${name}: ${date}`)];
  };
  assert.deepEqual(show(all), [
    'JLPT', 'Lists',
    'The current level is n4. Reached at 80%: 6 more words. At  a day until Wednesday.',
    'n4 own: Jun 2024', ...['n3', 'n2', 'n1', 'x1', 'x2', 'x3'].map((name) => `${name}: –`)]);
  assert.deepEqual(show(all.slice(0, 1), 'JLPT'), ['JLPT', undefined, 'Every level is reached.', 'N5: already']);
  assert.deepEqual(show(all, ''), ['CEFR', 'Lists', 'None of the words studied so far has a level.']);
});

// The words of a level or list, and the part that is known; the words a day that were entered before and now; the text.
for (const [count, progressRate, before, entered, language, shown, text] of [
  [1_066, 498 / 1_066, null, '7', 'en-GB', 7, 'Reached at 80%: 355 more words. At  a day until 1 May.'],
  [5, 0.6, 4, '', 'en-GB', 1, 'Reached at 80%: 1 more word. At  a day until Tuesday.'],
  [35, 0, 'x', '-3', 'en-GB', 1, 'Reached at 80%: 28 more words. At  a day until 8 Apr.'],
  [1_000, 0, null, '1e9', 'ja', 999, '80%で到達：あと800語です。1日語なら火曜日までです。'],
  [1_000, 0, null, null, 'ja', 5, '80%で到達：あと800語です。1日語なら8月18日までです。'],
  [10, 0.8, 3, '4', 'en-GB', undefined, ''], [0, null, 3, '4', 'en-GB', undefined, ''],
]) {
  test(`what a level lacks of ${count} words is divided by the words a day: ${before} ${entered}`, async () => {
    const kept = new Map(before && [['progress.pace', before]]);
    const localStorage = { getItem: (name) => kept.get(name) ?? null, setItem: (...pair) => kept.set(...pair) };
    globalThis.window = { localStorage };
    const { changesPace, h, toReach } = await pageIn({ language }, 'dom', 'how_far');
    const field = { name: 'pace', value: entered };
    assert.deepEqual([changesPace({ name: 'scale' }), entered !== null && changesPace(field)], [false, entered !== null]);
    const line = h('p', null, toReach({ catalogueItems: count, progressRate }, dayIn(0)));
    const [input] = line.tags('input');
    assert.deepEqual([input?.attributes.value, line.textContent], [shown, text]);
    if (input && entered !== null) assert.equal(field.value, shown);
    delete globalThis.window;
  });
}

/** A learner with levels that have so many known words, of which so many were mastered in 28 days. */
const ofLevels = (levels, ...ago) => learner({
  days: new Map(ago.map((days) => studyDay(dayIn(-days)))),
  progress: { masteryStats: { ...stages(0), longTermMastered: levels.reduce((sum, [known]) => sum + known, 0) } },
  levels: [...levels, [0, 99]].map(([known, gained], at, { length }) => ({
    ...stages(0), level: at < length - 1 ? ['A1', 'A2', 'B1', 'B2'][at] : 'UNKNOWN', longTermMastered: known,
    masteredLast28Days: gained, catalogueItems: 100, itemsStudied: known, progressRate: known / 100,
    reached: known >= 80, expectedDate: gained > 9 && gained < 99 && known < 80 ? '2025-01-01' : null })) });
const currentOf = (card) => card.textContent.match(/current level is (..)\./)?.[1] ?? null;

for (const [said, current, ...levels] of [
  ['where most was mastered', 'B1', [3, 1], [0, 0], [40, 20], [2, 0]],
  ['not a level that is reached', 'A2', [90, 30], [9, 2], [3, 1]],
  ['the lower of two', 'A2', [9, 0], [9, 4], [9, 4]],
  ['the only one with known words', 'B1', [0, 0], [90, 0], [40, 0], [0, 0]],
  ['the lowest without any', 'A2', [90, 0], [0, 0], [0, 0]],
  ['unknown until it is asked for', null, [3, 0], [0, 0], [40, 0]],
]) {
  test(`the current level is ${said}`, async () => {
    const { howFar } = await page('how_far');
    const data = ofLevels(levels, 40);
    const rows = data.levels.slice(0, -1).map(({ level, ...row }) => ({ ...row, id: level }));
    for (const view of [{}, { scales: [{ name: 'S', rows: [] }] }, { scales: [{ name: 'S', rows }], scale: 'S' }]) {
      const card = howFar(data, view).find('levels');
      assert.equal(currentOf(card), current);
      assert.equal(card.textContent.includes('Jan 2025'), rows.some(({ expectedDate }) => expectedDate));
      if (view.scale && current) assert.equal(cells(card.tags('tbody')[0].children)[0][0], current);
    }
  });
}

test('each number of a level but 0 opens its words, and a bar is of all of them', async () => {
  const { chooseLanguage, howFar, shareOf } = await page('how_far', 'languages');
  chooseLanguage('de');
  const data = ofLevels([[3, 10], [40, 0]], 40);
  const totals = [null, 0].map((catalogueItems) => shareOf({ ...data.levels[0], catalogueItems }, 'ann')[1].textContent);
  assert.deepEqual(totals, ['3 of 3 studied; the catalogue has no total', '3 of 0 (3%)']);
  const milestones = [-1, 0, 1].map((ahead) => ({ node: { kind: 'STREAK', value: 3, reachedOn: dayIn(ahead) } }));
  const rows = [{ ...data.levels[0], level: undefined, id: 'n5', name: 'N5' }];
  const show = (scale) => howFar({ ...data, milestones: { edges: milestones } }, { scales: [{ name: 'S', rows }], scale });
  const links = (card) => card.tags('a').map(({ attributes }) => attributes.href).filter((href) => href.includes('filter'));
  const levels = show().find('levels');
  const [known, gained] = ['#/items?filter=mastered', `#/items?filter=newly_mastered&from=${dayIn(-27)}&to=${dayIn(0)}`];
  const german = [`${known}&level=A1`, `${gained}&level=A1`, `${known}&level=A2`].map((href) => `${href}&language=de`);
  assert.deepEqual([links(levels), links(show('S').find('levels'))], [german, [`${known}&list=n5`, `${gained}&list=n5`]]);
  assert(levels.tags('rect').some(({ attributes }) => attributes.width === '3%'));
  assert.match(levels.textContent, /A level has a date if 10 or more/);
  assert.equal(show().find('milestones').tags('dd').length, 2);
});

// How many days ago the newest word of A1, A2, … was mastered; on the other days, it was words of no level.
for (const [last, others, level] of [
  [[90, null, 40], [], 'B1'], [[40, null, 90], [731], 'A1'], [[null, 35, 35], [], 'A2'], [[90, 70, 90, 70], [], 'A2'],
  [[200, null, 60], [-1, 30, 31, 33], 'B1'], [[900, 900], [40], 'A1'],
]) {
  test(`one request finds the level of the word mastered last: ${last}`, async () => {
    const { findLastLevel, howFar, levelsOf } = await page('how_far', 'scales');
    const data = ofLevels(last.map((ago) => [ago ? 9 : 0, 0]), ...last.filter(Boolean), ...others);
    for (const ago of [1, 2, 3]) data.days.set(...studyDay(dayIn(-ago), { newMasteryCount: 0 }));
    let asked = 0;
    answerWith(({ query, variables }) => Object.fromEntries(
      [...query.matchAll(/(s\d+l(\d+)): .+?from: "(.+?)", to: "(.+?)"/gs)].map(([, name, at, from, to], _, all) => {
        asked += 1 / all.length;
        assert(all.length <= 8 && from > dayIn(-731) && to === dayIn(0));
        const ago = last[['A1', 'A2', 'B1', 'B2'].indexOf(variables[`l${at}`])];
        return [name, { totalCount: dayIn(-ago) >= from ? 1 : 0 }];
      })));
    const lastLevel = await findLastLevel('ann', levelsOf(data, {}).choice);
    assert.deepEqual([Math.round(asked), currentOf(howFar(data, { lastLevel }).find('levels'))], [1, level]);
    assert(levelsOf({ ...data, language: 'de' }, { lastLevel }).choice); // of another language
  });
}

// One rule for a learner, and for the class that is told what to train.
test('skills are named only if they differ and have enough answers', async () => {
  const { howFar, skills } = await page('group_skills', 'how_far');
  const row = (name, answers, right) => ({
    ...stages(9), name, domain: name, answers, correctAnswers: answers * right, accuracyRate: right, itemsStudied: 9,
    catalogueItems: 9 });
  for (const [answers, right, other, ...expected] of [
    [90, 0.76, 0.8, undefined, undefined], [90, 0.6, 0.8, 'Reading', 'train: Reading (60% right)'],
    [3, 0, 0.8, undefined, undefined], [90, 0.3, 0.4, undefined, undefined], [90, 0.1, 0.2, undefined, undefined],
    [90, 0.29, 0.4, 'Reading', 'train: Reading (29% right)'],
  ]) {
    const domains = [row('R', answers, right), row('W', 90, other), row('L', 3, 0)];
    const card = howFar(learner({ progress: { masteryStats: stages(9) }, domains })).find('skills');
    const note = skills({ levels: [], skills: domains, learners: 3 }).tags('p')[0];
    const named = [card, note].map((one) => one?.textContent.match(/Reading|train: [^.]*/)?.[0]);
    assert.deepEqual(named, expected);
    if (card) assert.equal(cells(card.tags('tr'))[1].at(-1), `${Math.round(100 * right)}%`);
  }
});

test('the current hour has the rate of its minutes', async () => {
  const { arrivals } = await page('system_state');
  const rows = Array.from({ length: 24 }, (_, n) =>
    ({ start: inHours(n - 23.5), events: n < 23 ? 600 : 300, deadLetters: 0 }));
  assert.equal(arrivals(rows).textContent.split('10.0 events per minute').length - 1, 24);
});

test('a finding says what it means, what to do, and shows the event that was asked for', async () => {
  const { senders } = await page('intake');
  const of = (kind, more) => ({ kind, name: null, meant: null, count: 3, example: 'e1', ...more });
  const draw = (examples, ...findings) => senders({ events: 9, findings }, examples).textContent;
  const undeclared = of('UNDECLARED_TYPE', { name: 'GoalSett', meant: 'GoalSet' });
  assert.match(draw({}, undeclared), /unknown type: 3 GoalSett.*Send GoalSet in its place.*Show an example/u);
  assert.match(draw({}, of('TIME_IN_SECONDS', { name: 'learner' })), /under 100 ms: 3 learner.*Send milliseconds/u);
  assert.match(draw({ e1: { eventType: 'GoalSett', data: '{"user_id": "ann"}' } }, undeclared), /"user_id": "ann"/u);
  assert.match(draw({ e1: null }, of('PENDING')), /not recorded yet/u);
  assert.match(draw({}), /Nothing of the newest 9 events/u);
});

test('the words that a learner has not met are those of all pages of the lists', async () => {
  const { countUnmet } = await page('scales');
  const unmet = async (...pages) => {
    answerWith(({ variables: { after = null } }) => ({ lists: {
      edges: pages[Number(after)].map(([items, itemsStudied]) => ({ node: { items, itemsStudied } })),
      pageInfo: { hasNextPage: Number(after) + 1 < pages.length, endCursor: `${Number(after) + 1}` } } }));
    return countUnmet('ann');
  };
  assert.deepEqual([await unmet([]), await unmet([[2, 2]]), await unmet([[9, 2], [3, 3]], [[5, 4]])], [null, 0, 8]);
});
