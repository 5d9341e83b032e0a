// What is the matter, said so that a reader knows what to do; and trying again.

import { Problem } from './api.js';
import { h } from './dom.js';
import { count } from './format.js';

const SAID = {
  offline: ['You are offline', 'As soon as there is a connection, the page goes on by itself.'],
  away: ['The server does not answer', 'Your progress is safe. It is being tried again.'],
  busy: ['One moment, please', 'More was asked than is allowed in a minute.'],
  forbidden: ['This is not yours to see', 'Your role does not allow it. Your own progress is always there.'],
  fault: ['Something went wrong', 'It is our fault, not yours. Try again; if it stays, report it.'],
  refused: ['The question was not understood', 'Load the page again: there may be a newer one.'],
};
const BY_ITSELF = new Set(['away', 'busy']);
const LONGEST = 30; // seconds

/** Tries again when it makes sense, and when the reader says so. */
export class Retry {
  constructor(again) {
    this.again = again;
    this.tries = 0;
    this.online = () => this.now();
  }

  failed(problem) {
    this.stop();
    if (problem.kind === 'offline') addEventListener('online', this.online, { once: true });
    if (!BY_ITSELF.has(problem.kind)) return;
    const pause = problem.after ?? Math.min(LONGEST, 2 ** (this.tries + 1));
    this.tries += 1;
    this.at = Date.now() + pause * 1000;
    this.timer = setTimeout(() => this.now(), pause * 1000);
  }

  succeeded() {
    this.stop();
    this.tries = 0;
  }

  now() {
    this.stop();
    this.again();
  }

  stop() {
    clearTimeout(this.timer);
    removeEventListener('online', this.online);
    this.at = null;
  }

  /** Whole seconds until it is tried again; null if it is not, by itself. */
  get seconds() {
    return this.at && Math.max(1, Math.ceil((this.at - Date.now()) / 1000));
  }
}

/** What went wrong as a Problem: what nobody foresaw is shown too, and reported besides. */
function told(fault) {
  if (fault instanceof Problem) return fault;
  reportError(fault);
  return new Problem('fault', String(fault));
}

/** What a view does that was not answered: it says so and tries again, or leaves who is signed out. */
export function failed(view, fault) {
  const problem = told(fault);
  if (problem.kind === 'signed-out') return view.shell.signedOut();
  view.problem = problem;
  view.retry.failed(problem);
  view.draw();
}

/** The card that stands in for the numbers, or the note beneath them if they are there. */
export function problemCard(problem, retry, beneath) {
  const [title, advice] = SAID[problem.kind];
  const button = h('button', { type: 'button', class: 'button', 'data-retry': true }, 'Try again');
  button.addEventListener('click', () => retry.now());
  const look = beneath ? 'toast' : 'card wide problem';
  return h('section', { class: look, role: 'alert', 'data-key': `problem-${problem.kind}` },
    h(beneath ? 'p' : 'h1', { class: 'title' }, title),
    h('p', null, advice,
      retry.seconds && ` Next try in ${count(retry.seconds, 'second', 'seconds')}.`,
      beneath && ' The numbers are those of before.'),
    problem.trace && h('p', { class: 'note' }, `Trace ${problem.trace}`),
    problem.kind === 'refused' && h('p', { class: 'note' }, problem.message),
    problem.kind === 'forbidden' ? h('a', { class: 'button', href: '#/' }, 'To your own progress') : button);
}
