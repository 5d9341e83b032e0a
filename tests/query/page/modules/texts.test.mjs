// How the page writes numbers, times and words, in each language.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { dayIn, inHours, page, pageIn, stages, texts, textsOf } from './page.mjs';

const keys = (node, prefix = '') => (typeof node === 'string' || 'other' in node ? [prefix.slice(1)]
  : Object.entries(node).flatMap(([name, child]) => keys(child, `${prefix}.${name}`)));

for (const language of ['en', 'ja']) {
  // An English text has no singular that `cards` leaves, and a Japanese one no unit of words.
  test(`no text says words where items are cards: ${language}`, async () => {
    const { countCards, speakOf, t } = await pageIn({ language }, 'i18n');
    const say = () => keys(texts(language)).map((key) => t(key, { count: 7, words: 7 }));
    const words = say();
    speakOf('ann');
    assert.equal(countCards('ann', true), true);
    assert.deepEqual(say().filter((text) => /\b[Ww]ords?\b|単語|7語/.test(text)), []);
    assert.equal(countCards('ann', true), false);
    speakOf(null); // the tabs of whoever looks at the page of Ann
    assert.equal(countCards(null, false), false);
    assert.deepEqual(say(), words);
  });
}

test('a table of lists has numbers of due words', async () => {
  const { ListPage, Lists } = await pageIn({ language: 'ja' }, 'lists');
  const list = { ...stages(1), id: 'l', items: 0, itemsStudied: 1, catalogueItems: 2, due: 1, expected: 1 };
  const data = { at: 0, list, rows: [list], names: [], studied: [], frame: { today: [{ date: dayIn(0) }] } };
  for (const { prototype } of [Lists, ListPage]) {
    const text = textsOf(Object.assign(Object.create(prototype), { data }).sections().flat()).join();
    assert.deepEqual([text.includes('今日の復習'), text.includes('復習日')], [true, false]);
  }
});

test('the list of imported words without a deck has its name in the language of the page', async () => {
  for (const [language, name] of [['en', 'Imported words'], ['ja', '取り込んだ単語']]) {
    const { listName, nameOf } = await pageIn({ language }, 'items', 'names');
    const shown = ['Imported words', null].map((each) => listName({ id: 'own:deck', name: each }).textContent);
    assert.deepEqual([...shown, nameOf('list', 'own:deck')], [name, 'own:deck', name]);
  }
});

for (const [language, days, newest] of [
  ['en-GB', ['in 1 day', '1 day ago'], 'The newest event was recorded 1 second ago.'],
  ['ja', ['1日後', '1日前'], '最新の記録は1秒前に届きました。'],
]) {
  test(`a relative time never names the wrong day and is at least a second: ${language}`, async () => {
    const { ago, distance, t } = await pageIn({ language }, 'format', 'i18n');
    assert.deepEqual([47, -47].map((hours) => distance(inHours(hours))), days);
    for (const hours of [0, 0.01]) assert.equal(t('fresh.newest', { time: ago(inHours(hours)) }), newest);
  });
}

for (const [language, ...ranges] of [
  ['en-GB', '30 October – 22 November 2026', '5 March 2026'],
  ['ja', '2026年10月30日～11月22日', '2026年3月5日'],
]) {
  test(`a range of days is written like its days: ${language}`, async () => {
    const { days } = await pageIn({ language }, 'format');
    const found = [days('2026-10-30', '2026-11-22'), days('2026-03-05', '2026-03-05')];
    assert.deepEqual(found.map((text) => text.replace(/\s/g, ' ')), ranges);
  });
}

test('whoever learns one language selects none', async () => {
  const { offered } = await page('languages');
  const shown = (...tags) => offered(tags.map((language) => ({ language })));
  assert.deepEqual([shown('de'), shown('de', 'und'), shown('de', 'fr')], [[], [], ['de', 'fr']]);
});

test('only all is 100 percent and only none is 0 percent', async () => {
  const { percent, recallShare, share } = await page('format');
  const rates = [0, 0.0004, 0.004, 0.5, 0.9975, 1, null];
  assert.deepEqual(rates.map(percent), ['0%', '1%', '1%', '50%', '99%', '100%', '–']);
  assert.deepEqual(rates.map(share), ['0%', '0.1%', '0.4%', '50%', '99%', '100%', '–']);
  assert.deepEqual(rates.map(recallShare), ['0%', '1%', '1%', '50%', '99%', '100%', '–']);
});

test('no number that the API has rounded is rounded up once more', async () => {
  const { expectedOf, floor } = await page('format', 'layout');
  // 135.484 and 5.246 are 135.5 and 5.25 in the API.
  assert.deepEqual([135.5, 150.9, 0, null].map((value) => floor(value)), [135, 150, 0, null]);
  assert.deepEqual([5.25, 8.2, 0.3].map((value) => floor(value, 10)), [5.2, 8.2, 0.3]);
  assert.match(expectedOf({ expected: 135.5, items: 200 })[0].textContent, /\b135\b.*\b200\b/);
});

test('a headword sets its own direction and language', async () => {
  const { word } = await page('items');
  for (const [item, language] of [
    [{ headword: 'שלום', language: 'he' }, 'he'], [{ itemId: 'سلام' }, undefined], [{ headword: '食べる' }, 'ja'],
    [{ headword: '먹다' }, 'ko'], [{ headword: 'oak' }, ''], [{ headword: '食' }, ''],
  ]) {
    const { dir, lang } = word(item).attributes;
    assert.deepEqual([dir, lang], ['auto', language]);
  }
  for (const headword of [' ', '\u3000\u200b', '\u3164']) {
    assert.equal(word({ itemId: 'oak-1', headword }).textContent, 'oak-1');
  }
});
