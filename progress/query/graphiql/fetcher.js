// Send GraphiQL's requests: queries and mutations over HTTP, subscriptions over a WebSocket.

import { token } from './session.js';

const { createFetcher, GraphQL } = window.GraphiQL;
const send = createFetcher({
  url: location.pathname, subscriptionUrl: (location.origin + location.pathname).replace(/^http/, 'ws'),
  enableIncrementalDelivery: false,
});

/** Return the result, or the results of a subscription as an asynchronous iterator. */
export function fetcher({ query, variables, operationName }, { headers = {} } = {}) {
  const documentAST = GraphQL.parse(query);
  const operations = documentAST.definitions.filter(({ kind }) => kind === 'OperationDefinition');
  const names = operations.map(({ name }) => name?.value);
  // After a change of tabs, GraphiQL can still have the name of the other tab's operation.
  const name = names.includes(operationName) ? operationName : names[0];
  return send({ query, variables, operationName: name }, { documentAST, headers: withToken(headers) });
}

/** Headers of the editor take precedence over the session. */
function withToken(headers) {
  const isSigned = !token() || Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  return isSigned ? headers : { Authorization: `Bearer ${token()}`, ...headers };
}
