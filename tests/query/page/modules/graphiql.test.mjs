// What GraphiQL sends.

import assert from 'node:assert/strict';
import { test } from 'node:test';

test('an operation of another tab is replaced by the first operation, not by a fragment', async () => {
  const definitions = [
    { kind: 'FragmentDefinition', name: { value: 'Days' } },
    { kind: 'OperationDefinition', name: { value: 'Live' } },
  ];
  const createFetcher = () => ({ operationName }) => operationName;
  Object.assign(globalThis, {
    window: { GraphiQL: { createFetcher, GraphQL: { parse: () => ({ definitions }) } } },
    location: { origin: 'https://progress.example', pathname: '/graphql', hash: '' },
    sessionStorage: { getItem: () => null },
  });
  const { fetcher } = await import('../../../../progress/query/graphiql/fetcher.js');
  for (const operationName of ['Calendar', 'Days', undefined]) assert.equal(fetcher({ operationName }), 'Live');
});
