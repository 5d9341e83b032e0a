// The tasks of a group: the card, the page of one of them, and its file.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerWith, cells, Element, page, pageIn } from './page.mjs';

const connect = (nodes, endCursor = null) => ({
  pageInfo: { hasNextPage: endCursor !== null, endCursor }, edges: nodes.map((node) => ({ cursor: node.listId, node })) });
/** A member of a task of three words. */
const member = (userId, known, expected = null, knownNow = known, items = 3) => ({
  userId, displayName: userId === 'ben' ? null : `=${userId}`, items, known, knownNow, expected, done: known === items });
const LATE = [member('ann', 1, 0.5, 3), member('ben', 3, 2.5), member('cid', 2, 2)];

// The task's day; its members, of whom the last one is on another page; the rows, and the file.
for (const [dueOn, members, shown, ...file] of [
  ['2024-03-18', [member('ann', 0, 0), member('ben', 1, 0.99), member('cid', 3, 2.9)], [
    ['=ann', '0 of 3 learned; about 0 will be remembered on 18 Mar. 3 words left, 7 days: 1 a day', '3'],
    ['ben', '1 of 3 learned; about 0 will be remembered on 18 Mar. 2 words left, 7 days: 1 a day', '2'],
    ['=cid', '3 of 3 learned; about 2 will be remembered on 18 Mar', '0']],
  'Id,Learner,Missing,Learned until 18 Mar,Expected on 18 Mar',
  "ann,'=ann,3,0,0", 'ben,,2,1,0.99', "cid,'=cid,0,3,2.9"],
  ['2024-03-08', LATE, [
    ['=ann', '1 of 3 learned until 8 Mar, 3 by now', '2'], ['ben', '3 of 3 learned, until 8 Mar', '0'],
    ['=cid', '2 of 3 learned, until 8 Mar', '1']],
  'Id,Learner,Missing,Learned until 8 Mar,Expected on 11 Mar,Learned by now',
  "ann,'=ann,2,1,0.5,3", 'ben,,0,3,2.5,3', "cid,'=cid,1,2,2,2"],
]) {
  test(`a task's page and its file say of each member the same: ${dueOn}`, async () => {
    const { h, Task } = await page('dom', 'group_tasks');
    const [files, { setTimeout }] = [[], globalThis];
    Object.assign(Element.prototype, { click() {} });
    Object.assign(URL, { createObjectURL: (blob) => files.push(blob) });
    const task = { listId: 'n5', listName: 'N5', dueOn, items: 3, done: 1 };
    const words = ['Haus', null].map((headword, n) =>
      ({ itemId: `i${n}`, headword, members: 3, knownNow: 3 - n, expected: 1.25 }));
    answerWith(({ query, variables: { before, after } }) => {
      if (query.startsWith('query TaskWords')) {
        assert.equal(before, 'n4');
        return { group: { tasks: connect([{ words: { edges: words.map((node) => ({ node })) } }]) } };
      }
      const other = { ...task, listId: 'n4', members: connect([member('eve', 3)], 'more') };
      const ours = { ...task, members: after ? connect(members.slice(2)) : connect(members.slice(0, 2), 'ben') };
      assert.deepEqual([before, after], [before && 'n4', before && after && 'ben']);
      return { group: { name: '5a', members: 4, tasks: connect([before ? ours : other]) } };
    });
    class Shown extends Task { draw() {} }
    const view = new Shown(new Element('main'), 'g', 'n5', { named() {} });
    await view.naming;
    const main = h('main', null, view.sections());
    assert.deepEqual(cells(main.tags('tbody')[0].children), shown);
    assert.deepEqual(cells(main.tags('tbody')[1].children), [['i1', '2 of 3', '1.3']]);
    assert.match(main.find('head').textContent, /N53 words, until .+1 of 4 has done it/);
    Object.assign(globalThis, { setTimeout() {} }); // that the browser reads the file
    view.save();
    Object.assign(globalThis, { setTimeout });
    assert.deepEqual((await files[0].text()).split('\r\n'), [...file, '']);
  });
}

test('a task that is not counted has its size alone, and the card those who have not done one', async () => {
  const { h, Task, tasks } = await page('dom', 'group_tasks');
  const node = (listId, items, done, ...members) =>
    ({ listId, dueOn: '2024-03-12', items, done, members: connect(members) });
  const uncounted = { ...member('ann', null, null, null, 2_001), done: null };
  for (const [items, said] of [[2_001, 'Who has done it is not counted'], [0, 'This list has no words.']]) {
    const data = { at: 0, task: node('n5', items, null), rows: [uncounted], size: 1 };
    const view = Object.assign(Object.create(Task.prototype), { group: 'g', list: 'n5', data: { ...data, words: [] } });
    const main = h('main', null, view.sections());
    assert.equal(main.textContent.includes(said) && main.tags('table').length, 0);
  }
  const known = [member('ann', 0, 0), member('ben', 2, 1.9), member('cid', 3, 3)];
  const shown = [node('n5', 3, 1, ...known), node('n4', 3, 3, known[2]), node('n3', 2_001, null, uncounted)];
  const card = tasks({ members: 4, tasks: connect(shown, 'c') }, (list) => `#/${list}`, ({ userId }) => userId);
  const furthest = [['ann 0', '3 words left, 1 day: 3'], ['ben 2', '1 word left, 1 day: 1']].map(([one, left], at) =>
    `${one} of 3 learned; about ${at} will be remembered on Tuesday. ${left} a day`);
  const day = (list) => `TuesdayChange the day ${list}Take back ${list}`;
  assert.deepEqual(cells(card.tags('tbody')[0].children), [
    ['n5', day('n5'), '1 of 4 has done it', furthest.join('')], ['n4', day('n4'), '3 of 4 have done it', '–'],
    ['n3', day('n3'), '2,001 words', '–']]);
});

test('a task says how many words a day are left until its day', async () => {
  const said = async (language) => {
    const { taskText } = await pageIn({ language }, 'items');
    return ['2024-03-11', '2024-03-12', '2024-03-14', '2024-03-10'].flatMap((dueOn) => [31, 39, 40].map((known) =>
      taskText({ items: 40, known, knownNow: known, expected: 25, dueOn }, '2024-03-11').split(/[.。]/)[1]?.trim()));
  };
  const none = undefined;
  assert.deepEqual(await said('en-GB'), [
    '9 words left', '1 word left', none, '9 words left, 1 day: 9 a day', '1 word left, 1 day: 1 a day', none,
    '9 words left, 3 days: 3 a day', '1 word left, 3 days: 1 a day', none, none, none, none]);
  assert.deepEqual(await said('ja'), [
    '残り9語', '残り1語', none, '残り9語、1日間：1日9語', '残り1語、1日間：1日1語', none,
    '残り9語、3日間：1日3語', '残り1語、3日間：1日1語', none, none, none, none]);
});
