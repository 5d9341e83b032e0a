// Server-Sent Events, for a subscription whose page has no WebSocket.

import { Problem, post, problemOf } from './api.js';

const NEXT = 'event: next\ndata: ';
const SILENCE_MS = 40_000; // a connection that sends nothing for this time counts as broken
// The streams of all windows of this browser: of the six connections that it opens to a server, queries need the
// others.
const STREAMS = ['progress.1', 'progress.2', 'progress.3', 'progress.4'];

let isTaken = false; // the page has a stream

/**
 * Call `handle` with each result and "live", until the stream ends. If there is no stream to have, call it with the
 * first result and "polling", and return true. Throw a Problem if the server refuses the subscription.
 */
export async function readStream(body, signal, handle) {
  if (await hold(() => read(body, signal, (result) => handle(result, 'live')))) return false;
  await read(body, signal, (result) => handle(result, 'polling'), true);
  return true;
}

/** Run `use` with a stream. Return false if the page has its stream already, or if other windows have all of them. */
async function hold(use) {
  if (isTaken) return false;
  isTaken = true;
  try {
    for (const name of STREAMS) {
      const request = navigator.locks?.request(name, { ifAvailable: true },
        async (lock) => lock && (await use(), true));
      if (await request) return true;
    }
    return false; // without locks, too: plain HTTP, in which the windows would use up all connections
  } finally {
    isTaken = false;
  }
}

/** Open a connection, and read it to its end, or only its first result. */
async function read(body, signal, handle, isFirst = false) {
  const connection = new AbortController();
  let silence;
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => connection.abort(), SILENCE_MS);
  };
  listen();
  try {
    const either = AbortSignal.any([signal, connection.signal]);
    const response = await post('graphql/stream', 'text/event-stream', body, null, either);
    const type = response.headers.get('Content-Type') ?? '';
    if (!response.ok || !type.startsWith('text/event-stream')) {
      throw problemOf(response, await response.json().catch(() => null)) ?? new Problem('away', type);
    }
    for await (const result of results(response.body, listen)) {
      handle(result);
      if (isFirst) return;
    }
  } finally {
    clearTimeout(silence);
    connection.abort();
  }
}

/** Yield the results of a stream, in the form in which the API writes them. Call `onData` for each chunk. */
export async function* results(body, onData = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let read; !(read = await reader.read()).done; ) {
    onData();
    const events = (rest + read.value).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      if (event.startsWith(NEXT)) yield JSON.parse(event.slice(NEXT.length));
    }
  }
}
