// Subscriptions: GraphQL over Server-Sent Events, one request for each, taken up again when it ends.

import { Problem, post, problemOf } from './api.js';

const SILENCE = 40_000; // without even a heart-beat: the line is dead
const LONGEST = 30_000; // between two tries

/** Tells `data` of each event and `state` of the line: live, waiting or the Problem that ends it. */
export class Subscription {
  constructor(query, variables, { data, state }) {
    this.body = { query, variables };
    this.tell = { data, state };
    this.tries = 0;
    this.onVisible = () => (document.hidden ? this.pause() : this.resume());
    document.addEventListener('visibilitychange', this.onVisible);
    if (!document.hidden) this.resume();
  }

  resume() {
    if (this.line) return;
    this.line = new AbortController();
    this.run(this.line);
  }

  pause() {
    this.line?.abort();
    this.line = null;
  }

  close() {
    document.removeEventListener('visibilitychange', this.onVisible);
    this.pause();
    this.closed = true;
  }

  async run(line) {
    while (!line.signal.aborted) {
      let after = null;
      try {
        await this.listen(line);
      } catch (problem) {
        if (line.signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        if (['signed-out', 'forbidden', 'refused'].includes(problem.kind)) {
          this.close();
          return this.tell.state(problem);
        }
        after = problem.after;
      }
      this.tell.state('waiting');
      await this.rest(after, line.signal);
    }
  }

  /** One connection to its end. */
  async listen(line) {
    const one = new AbortController();
    const signal = AbortSignal.any([line.signal, one.signal]);
    const watch = deadline(SILENCE, () => one.abort());
    try {
      const response = await post('graphql/stream', 'text/event-stream', this.body, null, signal);
      const type = response.headers.get('Content-Type') ?? '';
      if (!response.ok || !type.startsWith('text/event-stream')) {
        throw problemOf(response, await response.json().catch(() => null)) ?? new Problem('away', type);
      }
      this.tell.state('live');
      for await (const { event, data } of events(response.body, watch.again)) {
        if (event === 'next') this.take(JSON.parse(data));
      }
    } catch (fault) {
      if (line.signal.aborted || fault instanceof Problem) throw fault;
      // The line broke: another try.
    } finally {
      watch.stop();
      one.abort();
    }
  }

  take({ data, errors }) {
    if (errors?.length) {
      throw problemOf({ ok: true, status: 200, headers: new Headers() }, { errors });
    }
    this.tries = 0;
    this.tell.data(data);
  }

  rest(seconds, signal) {
    const pause = seconds ? seconds * 1000 : Math.min(LONGEST, 500 * 2 ** this.tries);
    this.tries += 1;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause * (0.75 + Math.random() / 2));
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

/** Calls `then` if nobody asks for another term within `time`. */
function deadline(time, then) {
  let timer = setTimeout(then, time);
  const stop = () => clearTimeout(timer);
  return { stop, again: () => (stop(), (timer = setTimeout(then, time))) };
}

/** The events of a stream, as the HTML standard reads them; `alive` hears of each piece. */
export async function* events(body, alive = () => {}) {
  let rest = '';
  let event = { event: 'message', lines: [] };
  for await (const piece of pieces(body)) {
    alive();
    // A CR at the end may be half of a CRLF: it waits for what follows.
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line) take(event, line);
      else {
        if (event.lines.length || event.event !== 'message') {
          yield { event: event.event, data: event.lines.join('\n') };
        }
        event = { event: 'message', lines: [] };
      }
    }
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let read; !(read = await reader.read()).done; ) yield read.value;
  } finally {
    reader.releaseLock();
  }
}

function take(event, line) {
  const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
  if (field === 'event') event.event = value;
  if (field === 'data') event.lines.push(value);
}
