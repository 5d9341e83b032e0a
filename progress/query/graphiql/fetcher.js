// Send GraphiQL's requests: queries and mutations to /graphql, subscriptions to /graphql/stream.

import { token } from './session.js';

const URL = location.pathname;
const NEXT = 'event: next\ndata: '; // begins a result in the form in which the API writes it

/** Return the result, or the results of a subscription as an asynchronous iterator. */
export function fetcher({ query, variables, operationName }, { headers = {} } = {}) {
  const operations = findOperations(query);
  // After a change of tabs, GraphiQL can still have the name of the other tab's operation.
  const name = operations.some((operation) => operation.name === operationName) ? operationName : undefined;
  const body = JSON.stringify({ query, variables, operationName: name });
  const options = { method: 'POST', headers: withToken(headers), body };
  const { kind } = operations.find((operation) => operation.name === name) ?? operations[0] ?? {};
  return kind === 'subscription' ? subscribe(options) : fetch(URL, options).then((response) => response.json());
}

/** Return the kinds and names of a document's operations, after removing comments and what is inside braces. */
function findOperations(document) {
  let [text, whole] = [document.replace(/#.*/g, ' '), ''];
  while (text !== whole) [text, whole] = [text.replace(/\{[^{}]*\}/g, ' '), text];
  return [...text.matchAll(/(query|mutation|subscription)\s*(\w*)/g)].map(([, kind, name]) => ({ kind, name }));
}

/** Headers of the editor take precedence over the session. */
function withToken(headers) {
  const all = new Headers({ 'content-type': 'application/json', ...headers });
  if (!all.has('authorization') && token()) all.set('authorization', `Bearer ${token()}`);
  return all;
}

function subscribe(options) {
  const controller = new AbortController();
  const results = receive({ ...options, signal: controller.signal });
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => results.next(),
    return() {
      controller.abort();
      return Promise.resolve({ done: true, value: undefined });
    },
  };
}

async function* receive(options) {
  options.headers.set('accept', 'text/event-stream');
  try {
    const response = await fetch(`${URL}/stream`, options);
    if (!response.ok) {
      yield await response.json();
      return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (let read; !(read = await reader.read()).done; ) {
      const events = (rest + read.value).split('\n\n');
      rest = events.pop();
      for (const event of events) if (event.startsWith(NEXT)) yield JSON.parse(event.slice(NEXT.length));
    }
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
  }
}
