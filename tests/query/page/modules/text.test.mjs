// What the page finds of the catalogue in a text, and what it shows of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cells, Element, page, pageIn, range } from './page.mjs';

const HEADWORDS = [
  'give', 'give up', 'Cat', 'caf\u00e9', 'ice-cream', 'auf Wiedersehen', 'der Hund', 'Hund', '猫', '大好き', '好き',
  '日本語', '女の子', 'はな', 'แมว', null, ' ',
];

for (const [text, found, others] of [
  ['Give up! They GIVE up, I give.', { give: 1, 'give up': 2 }, ['they', 'i']],
  ['Cats and cafe\u0301: concatenate a cat, ice-cream; ice', { Cat: 1, 'caf\u00e9': 1, 'ice-cream': 1 },
    ['cats', 'and', 'concatenate', 'a', 'ice']],
  ['cat\ncat\r\n\n2024, auf\n  wiedersehen', { Cat: 2, 'auf Wiedersehen': 1 }, []],
  ['Der Hund und ein Hund', { 'der Hund': 1, Hund: 1 }, ['und', 'ein']],
  ['女の子は猫が大好きで、日本語も好きだ。', { 女の子: 1, 猫: 1, 大好き: 1, 日本語: 1, 好き: 1 },
    ['は', 'が', 'で', 'も', 'だ']],
  ['はなすことが', {}, ['はなす', 'こと', 'が']], // not the flower of which the verb begins
  ['แมวชอบแมว', { แมว: 2 }, ['ชอบ']],
  [' \n。', {}, []],
]) {
  test(`a text has the headwords of the catalogue, the longest first: ${text.slice(0, 12)}`, async () => {
    const { add, find, open } = await page('catalogue');
    const catalogue = open(null);
    for (const headword of HEADWORDS) add(catalogue, { itemId: headword, headword });
    const result = find(catalogue, text);
    assert.deepEqual(Object.fromEntries(result.counts), found);
    assert.deepEqual([...result.others], others);
    assert.equal(result.found, Object.values(found).reduce((sum, count) => sum + count, 0));
  });
}

const connect = (nodes, endCursor = null) => ({
  pageInfo: { hasNextPage: endCursor !== null, endCursor }, edges: nodes.map((node) => ({ node })) });

/** A view of a text, where the catalogue has two pages, and the API answers with `answers`, by the query's name. */
async function open({ Text }, user, group, answers, items) {
  const asked = [];
  globalThis.fetch = async (url, { body }) => {
    const { query, variables } = body ? JSON.parse(body) : Object.fromEntries(url.searchParams);
    const name = /^query (\w+)/.exec(query)[1];
    asked.push([name, variables]);
    const pages = [connect(items.slice(0, 2), 'next'), connect(items.slice(2))];
    const data = name === 'Catalogue' ? { catalogue: pages[JSON.parse(variables).after ? 1 : 0] } : answers[name];
    return new Response(JSON.stringify({ data }));
  };
  class Shown extends Text { draw() {} }
  const [said, shell] = [[], { named() {}, announce(text) { said.push(text); } }];
  const view = new Shown(new Element('main'), user, group, shell);
  await view.naming;
  const count = async (text) => {
    Object.assign(view, { text, isCounted: true });
    await view.load();
  };
  return { view, asked, said, count };
}

const WORDS = ['oak', 'ash', 'elm', 'elm'].map((headword, at) => ({ itemId: `i${at}`, headword }));
const gap = (at, adds, more) => ({ ...WORDS[at], level: 'A1', count: 2, adds, ...more });

test('a learner is told the share of a text, and nothing but ids and counts is sent', async () => {
  const modules = await page('dom', 'text');
  const coverage = { covered: 0.789, gaps: [gap(1, 0.12, { estimatedRecall: 0.5 })] };
  const answers = { Languages: { languages: [] }, Coverage: { coverage } };
  const { view, asked, said, count } = await open(modules, null, null, answers, WORDS);
  await count('Oak, oak and elm: a secret.');
  assert.deepEqual(asked.map(([name]) => name), ['Languages', 'Catalogue', 'Catalogue', 'Coverage']);
  const items = [['i0', 2], ['i2', 1], ['i3', 1]].map(([itemId, number]) => ({ itemId, count: number }));
  assert.deepEqual(asked.at(-1)[1], { user: null, items });
  const main = modules.h('main', null, view.sections());
  assert.match(main.find('result').textContent, /^6 words, 3 not in the catalogue78% of the other.*and, a, secret$/);
  assert.deepEqual(cells(main.tags('tbody')[0].children), [['ash A12 times in the text', '50%', '12%']]);
  assert.equal(main.find('chosen').tags('p')[0].textContent, 'With 1 of these words learned: 90%');
  assert.match(said[0], /^6 words, 3 .* 78% of the other words/);
  assert.deepEqual([main.tags('input'), main.find('members')], [[], undefined]);
  await count('secret');
  assert.equal(asked.length, 4);
  assert.equal(modules.h('main', null, view.sections()).find('gaps'), undefined);
});

test('a teacher chooses words for the class, and sees who is furthest away', async () => {
  const modules = await page('dom', 'text');
  const members = [['ann', 0.1], ['ben', 0.5]].map(([userId, covered]) =>
    ({ userId, displayName: userId === 'ben' ? null : '=Ann', covered }));
  const gaps = range(21, (at) => gap(at % 3, 0.01, { itemId: `w${at}`, learners: 2 }));
  const answers = {
    Group: { group: { name: '5a', members: 2 }, learners: connect([{ userId: 'ann' }]) },
    Each: { u0: [{ language: 'en', kinds: 1 }, { language: 'de', kinds: 1 }] },
    GroupCoverage: { group: { coverage: { covered: 0.3, gaps, members } } },
  };
  const { view, count } = await open(modules, null, 'g', answers, WORDS);
  await count('oak');
  const main = modules.h('main', null, view.sections());
  assert.deepEqual(main.find('languages').tags('button').length, 3);
  const boxes = main.tags('input').map(({ attributes }) => attributes.value);
  assert.deepEqual(boxes, range(20, (at) => `w${at}`)); // the last one is behind a button
  assert.equal(main.find('chosen').tags('p')[0].textContent, 'With 10 of these words learned: 40%');
  view.chosen.delete('w0');
  assert.deepEqual(view.chosenWords().map(({ itemId }) => itemId), range(9, (at) => `w${at + 1}`));
  assert.equal(cells(main.tags('tbody')[0].children)[0][1], '2 of 2');
  assert.deepEqual(cells(main.tags('tbody')[1].children), [['=Ann', '10%'], ['ben', '50%']]);
  const files = [];
  Object.assign(Element.prototype, { click() {} });
  Object.assign(URL, { createObjectURL: (blob) => files.push(blob) });
  const { setTimeout } = globalThis;
  Object.assign(globalThis, { setTimeout() {} }); // that the browser reads the file
  view.save();
  Object.assign(globalThis, { setTimeout });
  const rows = ['Id,Learner,Expected to know', "ann,'=Ann,0.1", 'ben,,0.5', ''];
  assert.deepEqual((await files[0].text()).split('\r\n'), rows);
});

test('of more than 1,000 different words, the most frequent ones are counted, and the page says so', async () => {
  const modules = await page('dom', 'text');
  const many = range(1_001, (at) => ({ itemId: `i${at}`, headword: `w${at}` }));
  const answers = { Languages: { languages: [] }, Coverage: { coverage: { covered: 1, gaps: [] } } };
  const { view, asked, count } = await open(modules, 'ann', null, answers, many);
  await count(`${many.map(({ headword }) => headword).join(' ')} w1000`);
  const { items } = asked.at(-1)[1];
  assert.deepEqual([items.length, items[0]], [1_000, { itemId: 'i1000', count: 2 }]);
  const said = modules.h('main', null, view.sections()).find('result').textContent;
  assert.match(said, /Only the 1,000 most frequent of 1,001 different words/);
});

for (const [language, members, items, said] of [
  ['en-GB', 2, [], 'The catalogue has no words'], ['ja', 2, [], 'カタログにありません'],
  ['en-GB', 101, WORDS, 'up to 100 members'], ['en-GB', null, WORDS, 'This group has no members now.'],
]) {
  test(`where no text can be counted, the view says why: ${said}`, async () => {
    const modules = await pageIn({ language }, 'dom', 'text');
    const group = members && { name: '5a', members };
    const { view } = await open(modules, null, 'g', { Group: { group, learners: connect([]) } }, items);
    const main = modules.h('main', null, view.sections());
    assert.match(main.find('paste').textContent, new RegExp(said));
    assert.deepEqual(main.tags('textarea'), []);
  });
}
