// Views: how they load their data, tell the user about problems, retry after a problem, and are shown again offline.

import { Problem } from './api.js';
import { h, show } from './dom.js';
import { clock, localDate, moment } from './format.js';
import { sentences, t } from './i18n.js';
import { arriving } from './loads.js';
import { isAway } from './presence.js';
import * as session from './signed_in.js';
import { banner, withParameter } from './past_day.js';

const RETRIED = new Set(['away', 'busy']);
const MAX_PAUSE_S = 30;
const TICK_MS = 10_000;
const MAX_KEPT = 30; // views
// What browsers say of a module or another file that has not arrived.
const UNLOADED = /^(Failed to fetch|NetworkError|Load failed|error loading|Importing a module)/;

const kept = new Map(); // what each view showed when the user left it, by its address; only in memory

/** Forget what the user has seen. */
export const forget = () => kept.clear();

/** The address of what a view shows, wherever it is scrolled to and however it is sorted. */
function addressOf(hash) {
  const [only, another] = session.role() === 'teacher' ? session.groups() : [];
  const view = hash || (session.role() === 'learner' ? '#/' : '#/group');
  const address = view === '#/group' && only && !another ? `#/group/${encodeURIComponent(only)}` : view;
  const arranged = address.startsWith('#/group/') ? ['order', 'reverse', 'risk'] : ['at'];
  return arranged.reduce((one, name) => withParameter(one, name, null), address);
}

/**
 * Runs an action again when the user asks for it. If the server is away or busy, the action also runs again after a
 * pause. If the browser is offline, the action also runs again as soon as the browser is online.
 */
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

  /** The whole seconds until the next automatic retry; null if none is scheduled. */
  get seconds() {
    return this.at && Math.max(1, Math.ceil((this.at - Date.now()) / 1000));
  }
}

/** Return an error as a Problem. A fault of the program is also reported to the browser. */
export function toProblem(error) {
  if (error instanceof Problem) return error;
  if (UNLOADED.test(error.message)) return new Problem(navigator.onLine ? 'unloaded' : 'offline', error.message);
  reportError(error);
  return new Problem('fault', String(error));
}

/** A view. A subclass has sections(), which returns what to show, and read(), which returns the data, or load(). */
export class View {
  keeps = ['data']; // the fields that show the view again, besides where it is scrolled to

  /** `shell` shows the state of the subscription, announces texts, and asks the user to sign in again. */
  constructor(element, shell, fields) {
    Object.assign(this, { element, shell, data: null, problem: null, scroll: 0, ...fields });
    this.closing = new AbortController();
    // The event of the last scrolling may come after the click on a link.
    const note = () => { this.scroll = scrollY; };
    addEventListener('scroll', note, { signal: this.closing.signal, passive: true });
    this.on('click', note);
    this.retry = new Retry(() => {
      if (this.recalledAt) this.data = null;
      this.load();
    });
  }

  close() {
    this.closing.abort();
    this.request?.abort();
    this.retry.stop();
    clearInterval(this.clock);
  }

  /** Keep what the view shows, if it is of the address that the user leaves. */
  keep(hash) {
    const address = addressOf(hash);
    if (!this.data || this.loaded?.address !== address) return;
    kept.delete(address);
    const fields = Object.fromEntries([...this.keeps, 'loaded', 'scroll'].map((name) => [name, this[name]]));
    kept.set(address, { fields: { ...fields, recalledAt: this.loaded.at }, hash, leftAt: Date.now() });
    if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
  }

  /** Show what the view has shown before. */
  recall() {
    Object.assign(this, kept.get(addressOf(location.hash))?.fields);
  }

  /** Take back what the view showed, if the user returns to it in time. Return whether there is something. */
  restore(milliseconds = Infinity) {
    const { fields, hash, leftAt } = kept.get(addressOf(location.hash)) ?? {};
    if (!this.shell.isReturn || hash !== location.hash || Date.now() > leftAt + milliseconds) return false;
    Object.assign(this, fields);
    return true;
  }

  /** Abort the last request, and return the signal of the next one. */
  renew() {
    this.request?.abort();
    return (this.request = new AbortController()).signal;
  }

  /** Act with the signal of a new request, which aborts the last one. Show a problem unless the request is aborted. */
  async attempt(act) {
    const signal = this.renew();
    await act(signal).catch((problem) => signal.aborted || this.fail(problem));
  }

  /** Act again and again while somebody looks at the view. */
  every(milliseconds, act) {
    this.clock = setInterval(() => isAway() || act(), milliseconds);
  }

  /** Draw a view that is loaded only once again and again: it says how long ago something was. */
  keepTime() {
    this.every(TICK_MS, () => this.data && this.draw());
  }

  load() {
    return this.attempt(async (signal) => {
      this.data = await this.read(signal);
      this.succeed();
    });
  }

  /** Listen to events of the view's element until the view is closed. */
  on(type, listener, capture = false) {
    this.element.addEventListener(type, listener, { signal: this.closing.signal, capture });
  }

  /** Draw the view, unless it is closed: its element then shows another one. */
  draw() {
    if (this.closing.signal.aborted) return;
    this.element.setAttribute('aria-busy', String(!this.data && !this.problem));
    show(this.element, this.shell.way?.(), banner(), this.dated(), this.content(), this.notice());
    this.shell.arrived();
  }

  content() {
    return this.data ? this.sections() : [];
  }

  notice() {
    return this.problem && problemCard(this.problem, this.retry, Boolean(this.data));
  }

  /** When the numbers were asked for, if they are those of a former visit. */
  dated() {
    const at = this.data && this.problem && this.recalledAt;
    return at && h('p', { class: 'note', 'data-key': 'recalled' },
      t('problem.asOf', { time: (localDate(at) === localDate(Date.now()) ? clock : moment)(at) }));
  }

  /** Return the result of what needs a module that is not loaded yet. */
  use(action) {
    return arriving(action()).catch((error) => this.fail(error));
  }

  succeed() {
    Object.assign(this, { problem: null, recalledAt: null });
    this.loaded = { address: addressOf(location.hash), at: this.data?.at ?? Date.now() };
    this.retry.reset();
    this.draw();
  }

  /**
   * Show an error and schedule a retry. If the user is no longer signed in, show the sign-in instead. A view that
   * cannot be reached shows what it has shown before.
   */
  fail(error) {
    if (this.closing.signal.aborted) return;
    const problem = toProblem(error);
    if (problem.kind === 'signed-out') return this.shell.signedOut(problem);
    this.problem = problem;
    this.retry.schedule(problem);
    if (!this.data && problem.isAway) this.recall();
    this.draw();
  }
}

/** A card with the problem or, if the page already shows numbers, a note below them. */
export function problemCard(problem, retry, hasNumbers) {
  const button = h('button', { type: 'button', class: 'button', 'data-retry': true }, t('problem.tryAgain'));
  button.addEventListener('click', () => retry.now());
  const style = hasNumbers ? 'toast' : 'card wide problem';
  const isForbidden = problem.kind === 'forbidden';
  const isTeachers = isForbidden && session.role() === 'teacher';
  const isGroups = isForbidden && !isTeachers && location.hash.startsWith('#/group/');
  const kind = problem.kind + (isTeachers ? 'Teacher' : isGroups ? 'Group' : '');
  const advice = sentences(
    t(`problem.${kind}Advice`),
    retry.seconds && t('problem.retryIn', { count: retry.seconds }),
    hasNumbers ? t('problem.old') : problem.kind === 'offline' && t('problem.unseen'));
  return h('section', { class: style, role: 'alert', 'data-key': `problem-${problem.kind}` },
    h(hasNumbers ? 'p' : 'h1', { class: 'title' }, t(`problem.${kind}`)),
    h('p', null, advice),
    problem.trace && h('p', { class: 'note' }, t('problem.trace', { trace: problem.trace })),
    problem.kind === 'refused' && h('p', { class: 'note', lang: 'en' }, problem.message),
    isForbidden
      ? h('a', { class: 'button', href: isTeachers ? '#/group' : '#/' },
        t(isTeachers ? 'problem.toGroups' : 'problem.home'))
      : button);
}
