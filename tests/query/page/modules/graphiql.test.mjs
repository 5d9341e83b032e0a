// What GraphiQL sends, and what it shows of an error.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const sent = [];
const error = { errors: [{ message: 'bad token', extensions: { code: 'UNAUTHENTICATED' } }] };
Object.assign(globalThis, {
  location: { origin: 'https://a.example', pathname: '/graphql', hash: '' },
  sessionStorage: { getItem: () => null },
  fetch: async (url, { body }) => {
    sent.push([url, JSON.parse(body).operationName]);
    return Response.json(error, { status: 401 });
  },
});
const { fetcher } = await import('../../../../progress/query/graphiql/fetcher.js');

test('a subscription that the server rejects gives its errors at once', async () => {
  const query = '# query Days\nfragment Days on Streak { current } subscription Live { streakUpdated { ...Days } }';
  for (const [operationName, name] of [['Calendar'], ['Days'], [undefined], ['Live', 'Live']]) {
    const results = [];
    for await (const result of fetcher({ query, operationName })) results.push(result);
    assert.deepEqual(results, [error]);
    assert.deepEqual(sent.pop(), ['/graphql/stream', name]);
  }
});

test('a query gives the errors of the server, also of a document that no parser reads', async () => {
  for (const query of ['query Items { languages { language } }', '{']) {
    assert.deepEqual(await fetcher({ query, operationName: 'Calendar' }), error);
    assert.deepEqual(sent.pop(), ['/graphql', undefined]);
  }
});
