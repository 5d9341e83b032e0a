// What views load: streams, lists that are read on, responses that come late, and tokens that end.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerWith, cells, dayIn, Element, inHours, NOW, page, range, textsOf } from './page.mjs';

const turn = (time) => new Promise((done) => setTimeout(done, time));
const until = async (isTrue) => { while (!isTrue()) await turn(1); };

// Many events in the least time lead to one load; what failed loads again after the page.
test('loads follow their table', async () => {
  const { Loads } = await page('loads');
  let see;
  globalThis.IntersectionObserver = class {
    constructor(act) { see = (key) => act([{ isIntersecting: true, target: { dataset: { key } } }]); }
    disconnect() {}
  };
  const [ran, failed] = [[], []];
  const load = (name) => async () => {
    ran.push(name);
    if (name === 'card' && !failed.length) throw new Error('away');
  };
  const loads = new Loads({
    page: { on: ['first', 'change'], least: 100, run: load('page') },
    news: { on: ['page'], run: load('news') },
    card: { on: ['change'], at: 'card', run: load('card') },
  }, ({ message }) => failed.push(message));
  loads.happen('first');
  for (const _ of range(3, String)) loads.happen('change');
  await until(() => ran.length === 2);
  ran.push('seen');
  see('card');
  await until(() => ran.length === 7);
  await turn(120);
  ran.push('changed');
  loads.happen('change');
  await until(() => ran.length >= 9);
  loads.close();
  const again = ['page', 'news', 'card'];
  assert.deepEqual(ran.slice(0, 9), ['page', 'news', 'seen', 'card', ...again, 'changed', 'page']);
  assert.deepEqual(failed, ['away']);
});

test('a view that is left waits for nothing', async () => {
  const { arriving, leaveArriving } = await page('loads');
  const marks = [];
  document.documentElement.toggleAttribute = (_, isOn) => marks.push(isOn);
  let end;
  const part = arriving(new Promise((done) => { end = done; }));
  leaveArriving();
  end('late');
  assert.deepEqual([await part, marks], ['late', [true, false, false]]);
});

test('a stream is parsed for any chunk size', async () => {
  const { results } = await page('events_stream');
  const events = ['{"a":1}', '"日本"'].map((data) => `event: next\ndata: ${data}\n\n`);
  const end = 'event: complete\ndata:\n\nevent: next\ndata: cut off';
  const bytes = new TextEncoder().encode(`:\n\n${events.join('')}${end}`);
  for (const size of [1, 2, 3, 7, 1_000]) {
    const body = new ReadableStream({ start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    } });
    const found = [];
    for await (const result of results(body)) found.push(result);
    assert.deepEqual(found, [{ a: 1 }, '日本'], `${size}`);
  }
});

for (const [name, Shown, id, seconds, isKept] of [
  ['item_list', 'ItemList', null, 60, true], ['item_list', 'ItemList', null, 61, false], ['group', 'Group', 'g', 999, true],
]) {
  test(`who returns to ${name} after ${seconds} seconds sees what was there: ${isKept}`, async () => {
    const { [Shown]: View } = await page(name);
    let place;
    Object.assign(globalThis, { location: { hash: '#/it' }, scrollTo: (_, to) => { place = to; } });
    class Silent extends View { draw() {} load() {} follow() {} }
    const open = () => new Silent(new Element('main'), id, new URLSearchParams(), { isReturn: true });
    const left = Object.assign(open(), { data: { rows: [] }, scroll: seconds });
    left.succeed();
    left.keep('#/it');
    Date.now = () => NOW + 1_000 * seconds;
    assert.deepEqual([Boolean(open().data), place === seconds], [isKept, isKept]);
  });
}

// An item's last answer was 90 seconds ago.
test('a view loaded once follows the clock while somebody looks', async () => {
  const { ItemPage } = await page('item_page');
  const at = inHours(-1 / 40);
  const item = { itemId: 'i', headword: 'snow', domains: [], answers: 1, correctAnswers: 1, mastery: 'LEARNING',
    firstAnsweredAt: at, lastAnsweredAt: at };
  const data = { item, lists: [], history: { reviews: [], days: [] }, forgetting: [], today: [{ date: dayIn(0) }] };
  answerWith(() => data);
  let tick;
  globalThis.setInterval = (act) => { tick = act; };
  const shown = [];
  class Shown extends ItemPage {
    draw() { shown.push(/\d+ minutes? ago/.exec(this.sections().at(-1).textContent)[0]); }
  }
  const view = new Shown(new Element('main'), 'i', null, null, { named() {} });
  tick();
  await view.naming;
  for (const [seconds, hidden] of [[20, false], [40, true], [40, false]]) {
    Date.now = () => NOW + 1_000 * seconds;
    document.hidden = hidden;
    tick();
  }
  assert.deepEqual(shown, ['1 minute ago', '1 minute ago', '2 minutes ago']);
});

for (const language of ['fr', 'de']) {
  test(`what was asked for French is added to a page in French only: ${language}`, async () => {
    const { Learner } = await page('learner');
    let respond;
    answerWith(() => new Promise((done) => { respond = done; }));
    const view = {
      data: { language: 'fr' }, more: {}, closing: new AbortController(), draw() { this.drawn = this.data.extra; } };
    const added = Learner.prototype.add.call(view, 'query', {});
    await until(() => respond);
    view.data = { language };
    respond({ extra: 1 });
    await added;
    assert.deepEqual([view.more.extra, view.drawn], language === 'fr' ? [1, 1] : [undefined, undefined]);
  });
}

test('a late response is not shown as the list of another filter', async () => {
  const { ItemList } = await page('item_list');
  Object.assign(globalThis, { location: { hash: '#/items' }, history: { pushState() {} } });
  const requests = [];
  answerWith(({ variables }) => new Promise((resolve) => requests.push({
    filter: variables.filter, to: variables.to,
    respond: (totalCount) => resolve({
      items: { totalCount, pageInfo: {}, edges: [] }, today: [{ date: '2024-03-11' }] }),
  })));
  const parameters = new URLSearchParams('filter=answered&to=2024-03-01');
  const list = new ItemList(new Element('main'), null, parameters, {});
  Object.assign(list, { draw() {}, shell: { announce() {} } });
  list.change({ filter: 'LEECH' });
  requests[0].respond(1);
  await until(() => requests.length > 1);
  requests[1].respond(2);
  await until(() => list.data?.total === 2);
  // A day without a first one is left out, because the API would refuse it.
  assert.deepEqual(requests.map(({ filter, to = null }) => [filter, to]), [['ANSWERED', null], ['LEECH', null]]);
});

for (const [name, Shown, ...args] of [
  ['events', 'Events', 'ann', new URLSearchParams()], ['group_item', 'GroupItem', 'g', 'snow'],
]) {
  test(`a page of ${name} that is asked for twice is shown once`, async () => {
    const { [Shown]: View } = await page(name);
    const responses = [];
    answerWith(({ query, variables: { after } }) => {
      if (query.includes('Each')) return { u0: { answers: 1 } };
      const pages = { pageInfo: { hasNextPage: true, endCursor: `${after}+` },
        edges: [{ node: { eventId: `${after}`, userId: `${after}` } }] };
      const data = { who: null, events: pages, learners: pages };
      return new Promise((resolve) => responses.push(() => resolve(data)));
    });
    const view = new View(new Element('main'), ...args, { named() {} });
    view.draw = () => {};
    for (const clicks of [0, 2]) {
      const loads = range(clicks, () => view.load());
      await until(() => responses.length > clicks);
      for (const respond of responses) respond();
      await Promise.all([view.naming, ...loads]);
    }
    assert.deepEqual(view.data.rows.map(({ eventId }) => eventId), ['null', 'null+']);
  });
}

// Of fifteen pages, only the thirteenth has new words; the first of them has no headword.
test('a list is read on until enough of its words match', async () => {
  const { ListPage } = await page('lists');
  globalThis.location = { hash: '#/list/n5' };
  globalThis.history = { replaceState(_, __, url) { location.hash = url; } };
  let pages = 0;
  answerWith(({ variables }) => {
    const at = Number(variables.after ?? 0);
    const mastery = at === 12 ? 'UNLEARNED' : 'LEARNING';
    const edges = range(200, (index) => ({ node: {
      itemId: `i-${index}`, headword: index ? 'Haus' : '\u200b', own: index > 0, mastery } }));
    const pageInfo = { hasNextPage: at < 14, endCursor: `${at + 1}` };
    pages += 1;
    const list = { id: 'n5', name: 'N5', items: 3_000, itemsStudied: 2_800, members: { edges, pageInfo } };
    return { list, today: [{ date: dayIn(0) }] };
  });
  const shell = { announce() {}, named() {} };
  const view = Object.assign(
    new ListPage(new Element('main'), 'n5', null, new URLSearchParams(), shell), { draw() {} });
  const see = () => {
    const card = view.sections().at(-1).find('members');
    const [count, own] = textsOf(card.tags('p'));
    return [pages, count, /^Only you see what is marked “own”\./.test(own), card.tags('a')[0]?.attributes.href];
  };
  const link = '#/item/i-0?list=n5';
  await view.naming;
  assert.deepEqual(see(), [1, '3,000 words', true, link]);
  view.missing = 'yes';
  await view.load(true);
  assert.deepEqual(see(), [11, '0 words among the first 2,200 of 3,000', false, undefined]);
  await view.load(true);
  assert.deepEqual(see(), [13, '200 words among the first 2,600 of 3,000', true, link]);
  view.change({ search: 'I-' });
  assert.deepEqual(see(), [14, '1 word among the first 2,600 of 3,000', false, link]);
  assert.equal(location.hash, '#/list/n5?search=I-&missing=yes');
  await view.load(true); // instead of the load that the change began
});

test('the page of a list names words as of then or else now, and has a button only for the own words of now', async () => {
  const { h, ListPage, select } = await page('dom', 'lists', 'past_day');
  document.querySelector = () => ({ content: 'https://app.example?{list}' });
  globalThis.location = { hash: '#/list/n5' };
  answerWith(({ query }) => {
    const names = query.includes('asOf') ? ['Eiche', null] : ['oak', 'Tanne'];
    const edges = names.map((headword, at) => ({ node: { itemId: `i-${at}`, headword, own: true } }));
    const list = { catalogueItems: 2, id: 'n5', own: true, items: 2, members: { edges, pageInfo: {} } };
    return { localDay: { end: '2024-03-02T05:00:00Z' }, list, today: [{ date: '2024-03-01' }] };
  });
  for (const [day, user, items, hasButton] of [
    ['2024-03-01', null, 2, false], [null, 'ann', 2, false], [null, null, 0, false], [null, null, 2, true],
  ]) {
    await select(user, day);
    class Shown extends ListPage { draw() {} }
    const view = new Shown(new Element('main'), 'n5', user, new URLSearchParams('search=n'), { named() {} });
    await view.naming;
    view.data.list.items = items;
    const main = h('main', null, view.sections());
    assert.equal(main.find('app') !== undefined, hasButton);
    assert.equal(main.textContent.split('Only you see').length, 2);
    if (day) assert.deepEqual(view.data.rows.map(({ headword }) => headword), ['Eiche', 'Tanne']);
    if (day) assert.equal(main.find('members').tags('p')[0].textContent, '1 word');
  }
});

test('a view of lists shows the scales that are studied', async () => {
  const { Lists, select } = await page('lists', 'past_day');
  globalThis.location = { hash: '#/lists' };
  const connection = (...edges) => ({ edges: edges.map((node) => ({ node })), pageInfo: {} });
  const asked = []; // for each query of the view, the fields that are asked as of the present
  const list = (id, more) => ({ id, name: null, catalogueItems: 4, due: 3, expected: 1.6, itemsStudied: 0, learning: 0,
    shortTermMastered: 1, longTermMastered: 1, ...more });
  answerWith(({ query }) => asked.push(query.split('(userId: $whose)').length - 1) && {
    localDay: { end: '2024-03-02T05:00:00Z' }, today: [{ date: '2024-03-01' }],
    scales: [{ name: 'JLPT' }, { name: 'HSK' }],
    lists: connection(list('own:anki-1', { name: 'Verbs', own: true, progressRate: 0.5 }), list('hsk-1')),
    s0: connection(list('n5')), s1: connection(list('hsk-1', { itemsStudied: 1 })),
    tasks: connection({ listId: 'hsk-1', groupId: 'g', groupName: '5a', items: 4, known: 1, knownNow: 3,
      dueOn: '2023-12-31' }, { listId: 'hsk-1', groupId: 'h', items: 0, known: 0, knownNow: 0, dueOn: '2024-03-01' }),
  });
  await select('ann', '2024-03-01');
  const view = Object.assign(new Lists(new Element('main'), 'ann', new URLSearchParams(), {}), { draw() {} });
  await until(() => view.data);
  assert.deepEqual(cells(view.sections().at(-1).tags('tr')).filter(([name]) => name !== 'List'), [
    ['Verbs own', '2 of 4 (50%)', '3', '1'],
    ['hsk-11 of 4 learned until 31 December 2023, 3 by now, 5a0 words, until the end of today, h', '', '3', ''],
    ['hsk-1', '2 of 4 (–)', '3', '1'],
  ]);
  assert.deepEqual(asked.slice(1), [1, 0]); // only the scales have no past
  assert.match(view.sections().at(-1).textContent, /Only you see/);
});

test('a school is read to the end before quiet groups come first', async () => {
  const { Readers, School } = await page('readers', 'school');
  answerWith(({ query, variables }) => {
    if (query.includes('Each')) return { u0: null, u1: { displayName: 'Ms Lane' } }; // of whoever studies, too
    const at = Number(variables.after ?? 0);
    const node = { groupId: `g${at}`, members: 30, activeLast7Days: 20 - at, teachers: [`t-${at % 2}`, 't-0'] };
    const pageInfo = { hasNextPage: at < 11, endCursor: `${at + 1}` };
    return { groups: { totalCount: 12, pageInfo, edges: [{ node }] } };
  });
  const drawn = [];
  const view = new School(new Element('main'), {});
  view.draw = () => drawn.push(textsOf(view.sections()).join());
  await view.load();
  assert.match(drawn[0], /1 of 12 groups are read\./);
  assert.deepEqual([view.data.read, view.data.groups[0].groupId], [12, 'g11']);
  assert.match(drawn.at(-1), /Ms Lane \(t-1\), t-0/);
  const access = { readBy: 't-1', role: 'teacher', hour: inHours(0) };
  assert.equal(new Readers('ann').sentence(access)[1].textContent, 'Ms Lane (t-1)');
});

test('a fault of the program is no missing network', async () => {
  const { toProblem } = await page('problems');
  const faults = [];
  globalThis.reportError = ({ message }) => faults.push(message);
  for (const [onLine, missing] of [[true, 'unloaded'], [false, 'offline']]) {
    Object.defineProperty(globalThis, 'navigator', { value: { onLine }, configurable: true });
    const kinds = ['Failed to fetch dynamically imported module: a.js', 'x is not a function']
      .map((message) => toProblem(new TypeError(message)).kind);
    assert.deepEqual(kinds, [missing, 'fault']);
  }
  assert.deepEqual(faults, Array(2).fill('x is not a function'));
});

for (const [seconds, minutes, isRejected, renews] of [
  [3_600, 58.9, false, false], [3_600, 59.1, false, true], [3_600, 2, true, true],
  [80, 0.6, false, false], [80, 0.7, false, true], // half of a short life
  [3_600, 0.1, true, false], // a new token that the server rejects at once makes no loop
  [-7_200, 1, false, false], [-7_200, 91, false, true], // the browser's clock is ahead
]) {
  test(`a token is renewed once shortly before it ends: ${seconds} s, after ${minutes} minutes`, async () => {
    const session = await page('signed_in');
    const kept = { 'progress.hint': '', 'progress.state': 's' };
    const exp = NOW / 1_000 + seconds;
    const claims = btoa(JSON.stringify({ iat: exp - Math.abs(seconds), exp }));
    document.querySelector = () => ({ content: 'https://app.example/sign-in' });
    Object.assign(globalThis, {
      window: { sessionStorage: {
        getItem: (name) => kept[name] ?? null, removeItem: (name) => delete kept[name],
        setItem: (name, text) => { kept[name] = `${text}`; } } },
      location: { origin: 'https://p.example', pathname: '/', search: '?state=s', hash: `#token=.${claims}.` },
      history: { replaceState() {} }, scrollY: 0 });
    session.takeToken();
    Date.now = () => NOW + 60_000 * minutes;
    assert.equal(session.mayRenew(isRejected), renews);
    session.renewalUrl();
    assert.equal(session.mayRenew(true), false);
  });
}

test('a list has no row of another choice than the one above it', async () => {
  const { h, ItemList } = await page('dom', 'item_list');
  globalThis.location = { hash: '#/items' };
  const view = { filter: 'ALL', level: '', skill: '', list: '', language: '', order: 'RECENT', search: '' };
  const list = Object.assign(Object.create(ItemList.prototype), { user: null, view, known: new Map(), succeed() {} });
  list.update(view, { at: NOW, today: dayIn(0), languages: [], total: 1, cursor: 'c', rows: [
    { itemId: 'oak', headword: 'oak', answers: 1, correctAnswers: 1, accuracyRate: 1, lapses: 0 }] });
  const shown = () => h('main', null, list.sections());
  assert.match(shown().textContent, /oak.*Show more/);
  list.view = { ...view, filter: 'MASTERED' }; // and its rows are on their way, or do not arrive
  assert.doesNotMatch(shown().textContent, /oak|Show more|No word/);
  assert.equal(shown().tags('select').length > 0, true);
});
