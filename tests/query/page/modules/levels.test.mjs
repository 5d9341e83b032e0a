// The section "How far": levels, scales and skills, and when they are counted.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cells, inHours, learner, page, stages } from './page.mjs';

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
      level('A2', { longTermMastered: studied && 3 }), level('B1'), level('B2'), level('C2', { catalogueItems: 0 })];
    const progress = { masteryStats: { ...stages(7), longTermMastered: 3 } };
    const card = howFar(learner({ levels, domains: levels, progress })).find('levels');
    return [card.textContent, cells(card.tags('tbody')[0].children)];
  };
  const [before, uncounted] = show(0);
  assert.doesNotMatch(before, /current level/);
  assert.deepEqual(uncounted, ['A1', 'A2', 'B1', 'B2'].map((level) => [level, '–', '–', '–']));
  const [after, rows] = show(7);
  assert.match(after, /The current level is A2\./);
  assert.match(after, /8 of its words \(80%\) are known at the same time: 5 more\./);
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
});

// Who knows no level of CEFR sees another scale without a choice.
test('the levels of another scale begin with the next one', async () => {
  const { howFar } = await page('how_far');
  const all = ['n5', 'n4', 'n3', 'n2', 'n1', 'x1', 'x2', 'x3'].map((id) => ({
    ...stages(0), id, name: null, itemsStudied: 0, reached: false, catalogueItems: 10, progressRate: 0,
    masteredLast28Days: 0 }));
  Object.assign(all[0], { name: 'N5', itemsStudied: 9, reached: true });
  Object.assign(all[1], { own: true, longTermMastered: 2, expectedDate: '2024-06-01' });
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
    'The current level is n4. It is reached when 8 of its words (80%) are known at the same time: 6 more.',
    'n4 own: Jun 2024', ...['n3', 'n2', 'n1', 'x1', 'x2', 'x3'].map((name) => `${name}: –`)]);
  assert.deepEqual(show(all.slice(0, 1), 'JLPT'), ['JLPT', undefined, 'Every level is reached.', 'N5: already']);
  assert.deepEqual(show(all, ''), ['CEFR', 'Lists', 'None of the words studied so far has a level.']);
});

// One rule for a learner, and for the class that is told what to train.
test('skills are named only if they differ and have enough answers', async () => {
  const { howFar, skills } = await page('group_skills', 'how_far');
  const row = (name, answers, right) => ({
    ...stages(9), name, domain: name, answers, correctAnswers: answers * right, accuracyRate: right, itemsStudied: 9,
    catalogueItems: 9 });
  for (const [answers, right, ...expected] of [
    [90, 0.76, undefined, undefined], [90, 0.6, 'Reading', 'train: Reading (60% right)'], [3, 0, undefined, undefined],
  ]) {
    const domains = [row('R', answers, right), row('W', 90, 0.8)];
    const card = howFar(learner({ progress: { masteryStats: stages(9) }, domains })).find('skills');
    const note = skills({ levels: [], skills: domains, learners: 3 }).tags('p')[0];
    const named = [card, note].map((one) => one?.textContent.match(/Reading|train: [^.]*/)?.[0]);
    assert.deepEqual(named, expected);
  }
});

test('the current hour has the rate of its minutes', async () => {
  const { arrivals } = await page('system_state');
  const rows = Array.from({ length: 24 }, (_, n) =>
    ({ start: inHours(n - 23.5), events: n < 23 ? 600 : 300, deadLetters: 0 }));
  assert.equal(arrivals(rows).textContent.split('10.0 events per minute').length - 1, 24);
});
