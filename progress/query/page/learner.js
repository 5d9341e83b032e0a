// A learner's dashboard: one question for all of it, drawn, and drawn again when something changed.

import { ask } from './api.js';
import { show, h } from './dom.js';
import { due } from './due.js';
import { count } from './format.js';
import { behind, freshness } from './freshness.js';
import { items } from './items.js';
import { Retry, failed, problemCard } from './problems.js';
import { EARLIER, LIVE, QUESTION, joined, ranges } from './question.js';
import { domains, levels } from './shares.js';
import { Subscription } from './stream.js';
import { today, totals } from './today.js';
import { weeks } from './weeks.js';
import { stepped, within, year } from './year.js';

const OFTEN = 1_000; // milliseconds between two questions, however much happens
const SELDOM = 300_000; // between two while nothing happens: a day ends, the batch job runs
const UNTOLD = 30_000; // between two while nobody tells what happens, or not all is counted yet
const SAY_AGAIN = 20_000;

export class Learner {
  /** `shell` shows the state of the line, says things, and hears that nobody is signed in. */
  constructor(place, user, shell) {
    Object.assign(this, { place, user, shell, data: null, problem: null, asked: 0, said: -SAY_AGAIN });
    this.view = { year: null, day: null, preview: null };
    this.years = new Map();
    this.closing = new AbortController();
    this.retry = new Retry(() => this.refresh());
    this.listen();
    this.refresh();
  }

  close() {
    this.closing.abort();
    this.retry.stop();
    this.line?.close();
    clearTimeout(this.later);
    clearTimeout(this.saying);
    clearInterval(this.clock);
  }

  /** Ask again; of many wishes within a moment, the first and the last are heard. */
  refresh() {
    if (this.asking) {
      this.wanted = true;
      return;
    }
    clearTimeout(this.later);
    const wait = this.asked + OFTEN - performance.now();
    if (this.data && wait > 0) this.later = setTimeout(() => this.refresh(), wait);
    else this.load();
  }

  async load() {
    this.asking = true;
    this.wanted = false;
    this.asked = performance.now();
    try {
      const answer = await ask(QUESTION, { user: this.user, ...ranges() });
      if (this.closing.signal.aborted) return;
      this.take(answer);
      if (this.isElsewhere()) await this.loadYear();
    } catch (problem) {
      if (this.closing.signal.aborted) return;
      failed(this, problem);
    } finally {
      this.asking = false;
    }
    if (this.wanted) this.refresh();
  }

  take({ data, extensions }) {
    const before = this.data;
    this.data = { ...joined(data), projectedTo: extensions?.projectedTo };
    this.problem = null;
    this.retry.succeeded();
    this.choose();
    this.draw();
    if (before) this.say();
    this.line ??= new Subscription(LIVE, { user: this.user }, {
      data: ({ progress }) => this.hear(progress),
      state: (state) => this.follow(state),
    });
    this.clock ??= setInterval(() => document.hidden || this.tick(), UNTOLD);
  }

  follow(state) {
    this.told = state === 'live';
    if (state.kind === 'signed-out') this.shell.signedOut();
    else this.shell.live(state);
  }

  tick() {
    const isWhole = this.told && !behind(this.data.projections);
    if (!isWhole || performance.now() > this.asked + SELDOM) this.refresh();
  }

  /** The first message of each line only tells what the page may know already. */
  hear(progress) {
    if (JSON.stringify(progress) !== JSON.stringify(this.data.progress)) this.refresh();
  }

  /** Which year and day to open on, until the reader has chosen others. */
  choose() {
    const { day, streak, days } = this.data;
    if (!this.view.year) {
      const last = streak.lastStudyDate ?? [...days.keys()].at(-1) ?? day;
      this.view.year = Number((last < day ? last : day).slice(0, 4));
      this.view.day = within(String(this.view.year) === day.slice(0, 4) ? day : last, this.view.year, day);
    }
    const own = this.years.get(this.view.year);
    if (own) for (const each of own) days.set(each.date, each);
  }

  isElsewhere() {
    const { from2, to } = ranges();
    return this.view.year < Number(from2.slice(0, 4)) || this.view.year > Number(to.slice(0, 4));
  }

  /** A year that the one question does not ask for: it is older, or this clock is years behind. */
  async loadYear() {
    const asked = this.view.year;
    this.view.loading = !this.years.has(asked);
    this.draw();
    try {
      const { data } = await ask(EARLIER, { user: this.user, from: `${asked}-01-01`, to: `${asked}-12-31` });
      this.years.set(asked, data.days);
      for (const each of data.days) this.data.days.set(each.date, each);
      if (this.view.year === asked && this.view.loading) this.view.day = this.lastDay();
    } finally {
      this.view.loading = false;
    }
    if (!this.closing.signal.aborted) this.draw();
  }

  draw() {
    const problem = this.problem && problemCard(this.problem, this.retry, Boolean(this.data));
    this.place.setAttribute('aria-busy', String(!this.data && !this.problem));
    show(this.place, this.data ? sections(this.data, this.view, this.user) : [], problem);
    if (this.drawn !== this.view.year && this.data?.progress) this.scrollToDay();
  }

  scrollToDay() {
    const cell = this.cell();
    if (!cell) return;
    this.drawn = this.view.year;
    const frame = cell.closest('.scroll');
    frame.scrollLeft = cell.offsetLeft - frame.clientWidth + 4 * cell.offsetWidth;
  }

  cell() {
    return this.place.querySelector(`[data-day="${this.view.day}"]`);
  }

  /** Now, or when what was said last has been heard: of several updates, the newest. */
  say() {
    clearTimeout(this.saying);
    const wait = this.said + SAY_AGAIN - performance.now();
    if (wait > 0) {
      this.saying = setTimeout(() => this.say(), wait);
      return;
    }
    const now = this.data.days.get(this.data.day);
    const answers = count(now?.answers ?? 0, 'answer', 'answers');
    const streak = count(this.data.streak.current, 'day', 'days');
    const heard = this.shell.say(`Updated: ${answers} today, a streak of ${streak}.`);
    if (heard) this.said = performance.now();
  }

  listen() {
    const on = (type, act) => this.place.addEventListener(type, act, { signal: this.closing.signal });
    on('click', (event) => this.click(event));
    on('keydown', (event) => this.key(event));
    on('pointerover', (event) => event.pointerType === 'mouse' && this.preview(event.target.dataset?.day));
    document.addEventListener('visibilitychange', () => this.wake(), { signal: this.closing.signal });
  }

  wake() {
    if (!document.hidden && performance.now() > this.asked + 60_000) this.refresh();
  }

  click({ target }) {
    const button = target.closest('[data-year], [data-step], [data-day]');
    if (!button || button.getAttribute('aria-disabled') === 'true') return;
    const { year: to, step, day } = button.dataset;
    if (to) this.turn(Number(to));
    if (step) this.go(stepped(this.view.day, Number(step) < 0 ? 'ArrowUp' : 'ArrowDown'));
    if (day) this.go(day, true);
  }

  key(event) {
    if (!event.target.dataset?.day || event.altKey || event.metaKey) return;
    const to = stepped(this.view.day, event.key, event.ctrlKey);
    if (!to) return;
    event.preventDefault();
    this.go(to, true);
  }

  go(day, focus = false) {
    this.view.day = within(day, this.view.year, this.data.day);
    this.view.preview = null;
    this.draw();
    if (focus) this.cell()?.focus();
  }

  preview(day = null) {
    if (!this.data || this.view.preview === day) return;
    this.view.preview = day;
    this.draw();
  }

  turn(to) {
    this.view.year = to;
    this.view.day = this.lastDay();
    this.draw();
    if (this.isElsewhere()) this.loadYear().catch((problem) => failed(this, problem));
  }

  /** The year's last day with study, else its last day. */
  lastDay() {
    const { year: of } = this.view;
    const last = [...this.data.days.keys()].filter((day) => day.startsWith(`${of}-`)).sort().at(-1);
    return within(last ?? `${of}-12-31`, of, this.data.day);
  }
}

function sections(data, view, user) {
  const title = h('h1', { 'data-key': 'title', class: user ? null : 'unseen' },
    user ? `Progress of ${user}` : 'Your progress');
  if (!data.progress) return [title, welcome(user), freshness(data)];
  const stack = (key, ...parts) => h('div', { class: 'stack', 'data-key': key }, parts.map((part) => part(data)));
  return [
    title, today(data), year(data, view),
    stack('left', weeks, items), stack('right', due, levels, domains),
    totals(data), freshness(data),
  ];
}

function welcome(user) {
  return h('section', { class: 'card wide welcome', 'data-key': 'welcome' },
    h('h2', null, user ? 'Nothing is recorded' : 'Welcome'),
    h('p', null, user
      ? 'There is no learner of this id, or they have not begun.'
      : 'Your first answer begins it: your streak, your days and what you know will be here a second later.'),
    h('p', { class: 'note' }, 'This page need not be loaded again. It follows by itself.'));
}
