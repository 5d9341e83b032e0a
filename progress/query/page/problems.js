// Problems: their messages to the user, and retries.

import { Problem } from './api.js';
import { h } from './dom.js';
import { count } from './format.js';

const MESSAGES = {
  offline: ['You are offline', 'As soon as there is a connection, the page goes on by itself.'],
  away: ['The server does not respond', 'Your progress is safe. It is being tried again.'],
  busy: ['One moment, please', 'More was asked than is allowed in a minute.'],
  forbidden: ['This is not yours to see', 'Your role does not allow it. Your own progress is always there.'],
  fault: ['Something went wrong', 'It is our fault, not yours. Try again; if it stays, report it.'],
  refused: ['The question was not understood', 'Load the page again: there may be a newer one.'],
};
const RETRIED = new Set(['away', 'busy']);
const MAX_PAUSE_S = 30;

/** Retries after a pause, when the browser is online again, or when the user asks for it. */
export class Retry {
  constructor(action) {
    this.action = action;
    this.attempts = 0;
    this.online = () => this.now();
  }

  schedule(problem) {
    this.stop();
    if (problem.kind === 'offline') addEventListener('online', this.online, { once: true });
    if (!RETRIED.has(problem.kind)) return;
    const pause = problem.after ?? Math.min(MAX_PAUSE_S, 2 ** (this.attempts + 1));
    this.attempts += 1;
    this.at = Date.now() + pause * 1000;
    this.timer = setTimeout(() => this.now(), pause * 1000);
  }

  reset() {
    this.stop();
    this.attempts = 0;
  }

  now() {
    this.stop();
    this.action();
  }

  stop() {
    clearTimeout(this.timer);
    removeEventListener('online', this.online);
    this.at = null;
  }

  /** Whole seconds until the next automatic retry; null without one. */
  get seconds() {
    return this.at && Math.max(1, Math.ceil((this.at - Date.now()) / 1000));
  }
}

/** Return an error as a Problem. An unexpected one is also reported to the browser. */
function toProblem(error) {
  if (error instanceof Problem) return error;
  reportError(error);
  return new Problem('fault', String(error));
}

/** Show a view's error and retry; if the sign-in has ended, show that instead. */
export function handleError(view, error) {
  const problem = toProblem(error);
  if (problem.kind === 'signed-out') return view.shell.signedOut();
  view.problem = problem;
  view.retry.schedule(problem);
  view.draw();
}

/** A card in place of the numbers, or a note below them if there are any. */
export function problemCard(problem, retry, hasNumbers) {
  const [title, advice] = MESSAGES[problem.kind];
  const button = h('button', { type: 'button', class: 'button', 'data-retry': true }, 'Try again');
  button.addEventListener('click', () => retry.now());
  const style = hasNumbers ? 'toast' : 'card wide problem';
  return h('section', { class: style, role: 'alert', 'data-key': `problem-${problem.kind}` },
    h(hasNumbers ? 'p' : 'h1', { class: 'title' }, title),
    h('p', null, advice,
      retry.seconds && ` Next try in ${count(retry.seconds, 'second', 'seconds')}.`,
      hasNumbers && ' The numbers are those of before.'),
    problem.trace && h('p', { class: 'note' }, `Trace ${problem.trace}`),
    problem.kind === 'refused' && h('p', { class: 'note' }, problem.message),
    problem.kind === 'forbidden' ? h('a', { class: 'button', href: '#/' }, 'To your own progress') : button);
}
