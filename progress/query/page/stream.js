// GraphQL subscriptions. One WebSocket carries all of the page: a browser opens only six other connections to a server.
// Where a proxy refuses the socket, one subscription has Server-Sent Events, and the others poll. All reconnect.

import { Problem, problemOf } from './api.js';
import { isAway, isPaused, onPresence } from './presence.js';
import * as session from './signed_in.js';

const BEAT_MS = 15_000; // a socket that answers no ping for this time counts as broken
const REFUSED_MS = 300_000; // before a refused socket is tried again
const POLL_S = 15;
const MAX_PAUSE_MS = 30_000; // the longest pause between two attempts, before jitter is applied

const operations = new Map(); // the callbacks of the socket's subscriptions, by id
let ids = 0;
let socket = null; // a promise of the page's socket
let refusedUntil = 0;

/**
 * Calls `data` with the data and the extensions of each result, and `state` with "live", "polling", "waiting", "paused"
 * or the Problem that ended the subscription. It has no connection while nobody looks at the page. A feed has no first
 * result, so it is never polled: its caller finds the same in a query.
 */
export class Subscription {
  constructor(query, variables, callbacks, isFeed = false) {
    Object.assign(this, { body: { query, variables }, callbacks, isFeed, attempts: 0 });
    this.closing = new AbortController();
    onPresence(() => this.follow(), this.closing.signal);
    this.follow();
  }

  follow() {
    if (isAway()) this.pause();
    else if (!this.controller) this.run((this.controller = new AbortController()).signal);
    if (isPaused()) this.callbacks.state('paused');
  }

  pause() {
    this.controller?.abort();
    this.controller = null;
  }

  close() {
    this.closing.abort();
    this.pause();
  }

  async run(signal) {
    while (!signal.aborted) {
      let after = null;
      let state = 'waiting';
      try {
        const isOnSocket = await this.listen(signal);
        if (!isOnSocket && await this.stream(signal)) [state, after] = ['polling', POLL_S];
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        if (['signed-out', 'forbidden', 'refused'].includes(problem.kind)) {
          this.close();
          return this.callbacks.state(problem);
        }
        after = problem.after;
      }
      if (signal.aborted) return;
      this.callbacks.state(state);
      await this.wait(after, signal);
    }
  }

  /** Listen on the page's socket until the subscription or the socket ends. Return false if there is no socket. */
  async listen(signal) {
    const id = `${(ids += 1)}`;
    let open;
    try {
      return await new Promise((resolve, reject) => {
        const receive = (type, payload) => {
          if (type === 'complete') return resolve(true);
          try {
            this.handleResult(type === 'next' ? payload : { errors: payload }, 'live');
          } catch (error) {
            reject(error);
          }
        };
        operations.set(id, receive);
        signal.addEventListener('abort', () => resolve(true));
        connect().then((opened) => {
          open = opened;
          if (!open) return resolve(false);
          if (!operations.has(id)) return;
          open.send({ id, type: 'subscribe', payload: this.body });
          if (!this.isFeed) return;
          this.attempts = 0;
          this.callbacks.state('live');
        });
      });
    } finally {
      operations.delete(id);
      open?.send({ id, type: 'complete' });
      if (!operations.size) socket?.then((unused) => operations.size || unused?.close());
    }
  }

  /** Read Server-Sent Events to their end. Return true if there was no stream to have, so that the caller must poll. */
  async stream(signal) {
    if (this.isFeed) return true;
    try {
      const { readStream } = await import('./events_stream.js');
      return await readStream(this.body, signal, (result, state) => this.handleResult(result, state));
    } catch (error) {
      refusedUntil = 0; // the proxy is not the reason
      if (signal.aborted || error instanceof Problem) throw error;
      return false; // the connection is broken
    }
  }

  handleResult(result, state) {
    const problem = problemOf(new Response(), result);
    if (problem) throw problem;
    this.attempts = 0;
    this.callbacks.state(state);
    this.callbacks.data(result.data, result.extensions);
  }

  wait(seconds, signal) {
    const pause = seconds ? seconds * 1000 : Math.min(MAX_PAUSE_MS, 500 * 2 ** this.attempts);
    this.attempts += 1;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause * (0.75 + Math.random() / 2));
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

/** Open the page's socket. Resolve to null if it is refused: then, a stream tells why, or works. */
async function connect() {
  if (performance.now() < refusedUntil) return null;
  return (socket ??= new Promise((resolve) => {
    const url = new URL('graphql', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    const opened = new WebSocket(url, 'graphql-transport-ws');
    const send = (message) => opened.send(JSON.stringify(message));
    let isAccepted, isHeard;
    const beat = setInterval(() => {
      if (!isHeard) return close();
      isHeard = false;
      send({ type: 'ping' });
    }, BEAT_MS);
    const close = () => {
      clearInterval(beat);
      socket = opened.onclose = null;
      opened.close();
      if (!isAccepted) refusedUntil = performance.now() + REFUSED_MS;
      else for (const receive of operations.values()) receive('complete');
      resolve(null);
    };
    opened.onclose = close;
    opened.onopen = () => send({ type: 'connection_init', payload: { Authorization: `Bearer ${session.token()}` } });
    opened.onmessage = ({ data }) => {
      const { type, id, payload } = JSON.parse(data);
      isHeard = true;
      if (type === 'connection_ack') resolve({ send, close }, isAccepted = true);
      else operations.get(id)?.(type, payload);
    };
  }));
}
