// GraphQL subscriptions over Server-Sent Events. Each subscription has its own request, and reconnects by itself.

import { Problem, post, problemOf } from './api.js';
import { isAway, isPaused, onPresence } from './presence.js';

const SILENCE_MS = 40_000; // a connection that sends nothing for this time counts as broken
const MAX_PAUSE_MS = 30_000; // the longest pause between two attempts, before jitter is applied

/**
 * Calls `data` with each result, and `state` with "live", "waiting", "paused" or the Problem that ended the subscription.
 * It has no connection while nobody looks at the page.
 */
export class Subscription {
  constructor(query, variables, { data, state }) {
    this.body = { query, variables };
    this.callbacks = { data, state };
    this.attempts = 0;
    this.closing = new AbortController();
    onPresence(() => this.follow(), this.closing.signal);
    this.follow();
  }

  follow() {
    if (!isAway()) return this.resume();
    this.pause();
    if (isPaused()) this.callbacks.state('paused');
  }

  resume() {
    if (this.controller) return;
    this.controller = new AbortController();
    this.run(this.controller);
  }

  pause() {
    this.controller?.abort();
    this.controller = null;
  }

  close() {
    this.closing.abort();
    this.pause();
    this.closed = true;
  }

  async run(controller) {
    while (!controller.signal.aborted) {
      let after = null;
      try {
        await this.listen(controller);
      } catch (problem) {
        if (controller.signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        if (['signed-out', 'forbidden', 'refused'].includes(problem.kind)) {
          this.close();
          return this.callbacks.state(problem);
        }
        after = problem.after;
      }
      this.callbacks.state('waiting');
      await this.wait(after, controller.signal);
    }
  }

  /** Open a connection, and read it to its end. */
  async listen(controller) {
    const connection = new AbortController();
    const signal = AbortSignal.any([controller.signal, connection.signal]);
    const watchdog = startWatchdog(SILENCE_MS, () => connection.abort());
    try {
      const response = await post('graphql/stream', 'text/event-stream', this.body, null, signal);
      const type = response.headers.get('Content-Type') ?? '';
      if (!response.ok || !type.startsWith('text/event-stream')) {
        throw problemOf(response, await response.json().catch(() => null)) ?? new Problem('away', type);
      }
      this.callbacks.state('live');
      for await (const { event, data } of events(response.body, watchdog.reset)) {
        if (event === 'next') this.handleResult(JSON.parse(data));
      }
    } catch (error) {
      if (controller.signal.aborted || error instanceof Problem) throw error;
      // The connection is broken; run() opens another one.
    } finally {
      watchdog.stop();
      connection.abort();
    }
  }

  handleResult({ data, errors }) {
    if (errors?.length) {
      throw problemOf({ ok: true, status: 200, headers: new Headers() }, { errors });
    }
    this.attempts = 0;
    this.callbacks.data(data);
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

/** Call `expire` when `time` milliseconds have passed without a reset. */
function startWatchdog(time, expire) {
  let timer = setTimeout(expire, time);
  const stop = () => clearTimeout(timer);
  return { stop, reset: () => (stop(), (timer = setTimeout(expire, time))) };
}

/** Parse the events of a stream as the HTML standard specifies. Call `onData` for each chunk of the stream. */
export async function* events(body, onData = () => {}) {
  let rest = '';
  let event = { event: 'message', lines: [] };
  for await (const chunk of chunks(body)) {
    onData();
    // A CR at the end may be half of a CRLF: keep it for the next chunk.
    const lines = (rest + chunk).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line) addField(event, line);
      else {
        if (event.lines.length || event.event !== 'message') {
          yield { event: event.event, data: event.lines.join('\n') };
        }
        event = { event: 'message', lines: [] };
      }
    }
  }
}

async function* chunks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let read; !(read = await reader.read()).done; ) yield read.value;
  } finally {
    reader.releaseLock();
  }
}

function addField(event, line) {
  const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
  if (field === 'event') event.event = value;
  if (field === 'data') event.lines.push(value);
}
