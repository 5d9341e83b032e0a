// Send GraphiQL's requests: queries and mutations to /graphql, subscriptions to /graphql/stream.

import { token } from './session.js';

const URL = location.pathname;

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
    let text = '';
    for await (const chunk of chunks(response.body.pipeThrough(new TextDecoderStream()))) {
      const messages = (text + chunk).split('\n\n');
      text = messages.pop();
      for (const message of messages) {
        const data = message.split('\n').filter((line) => line.startsWith('data:'));
        const json = data.map((line) => line.slice(5)).join('\n').trim();
        if (json) yield JSON.parse(json);
      }
    }
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
  }
}

/** Iterate over a stream; not every browser can do so itself. */
async function* chunks(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}
