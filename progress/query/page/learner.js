// A learner's dashboard: what is loaded when, and what a click does. dashboard.js draws it.

import { Dashboard, JUMPS } from './dashboard.js';
import { dayAfter } from './format.js';
import { countBehind } from './freshness.js';
import { levelsOf, reachedText } from './how_far.js';
import { t, withTexts } from './i18n.js';
import { chosenLanguage, isDescribed, listenForLanguage } from './languages.js';
import { Loads } from './loads.js';
import {
  EARLIER_QUERY, FRAME_QUERY, MILESTONES, NEWS_QUERY, PAST_QUERY, QUERY, SUBSCRIPTION, TASKS_QUERY, TODAY_QUERY, byDate,
  joinDays, range,
} from './query.js';
import { endedStreak, newsRange } from './news.js';
import { isAway, onPresence } from './presence.js';
import { Subscription } from './stream.js';
import { ask, on, pastDay, presentDay, select } from './past_day.js';
import { calendarYear, daysOutside, monthEnds } from './year.js';

// Intervals in milliseconds.
const MINUTE = 30_000; // Between two looks at the clock.
const IDLE = 300_000; // Without a change: the batch job may have run.
const ANNOUNCE = 20_000; // Between two announcements to screen readers.
const MONTH = 1_500; // Between two months that play.
const CHEER = 20_000; // A milestone is told for this time; its card keeps it.

const CONTROLS = ['year', 'step', 'day', 'export', 'share', 'jump', 'play', 'command', 'range', 'readers']
  .map((name) => `[data-${name}]`).join();

// A response may come from the cache, which is at most five seconds behind the subscription. So often, at most, the
// page queries again if a response differs from what the subscription has told.
const MAX_REPEATS = 8;

/**
 * What is loaded when. The events:
 *
 *   first    the view opens, tries again or changes its language; its day ends; somebody returns to it
 *   change   a subscription has told of a change, or the learner has made one
 *   counting every MINUTE, while no subscription is live or events are still being counted
 *   batch    every IDLE without a change
 *   NAME     the load of this name has ended
 *   tasks changed  a subscription has told of it
 *   scale    somebody has chosen another scale of levels
 */
const table = (view) => ({
  page: { on: ['first', 'change', 'counting', 'batch'], least: 1_000, run: () => view.query() },
  news: { on: ['page'], least: 10_000, isQuiet: true, run: () => view.addNews() },
  tasks: { on: ['tasks changed'], least: 500, isQuiet: true, run: () => view.loadTasks() },
  frame: { on: ['news'], isQuiet: true, run: () => view.addFrame() },
  met: { on: ['year'], at: 'year', isQuiet: true, run: () => view.loadMet() },
  scales: {
    on: ['change'], at: 'levels', least: 10_000, isQuiet: true,
    run: () => view.loadPart('scales', () => import('./scales.js')),
  },
  lastLevel: { on: ['page', 'scales', 'scale'], at: 'levels', isQuiet: true, run: () => view.loadLastLevel() },
  states: { on: ['batch'], at: 'states', run: () => view.loadPart('states', () => import('./states.js')) },
  sessions: {
    on: ['change'], at: 'when', least: 5_000,
    run: () => view.loadPart('sessions', () => import('./sessions_card.js')),
  },
  readers: { at: 'readers', run: () => view.readers ?? view.loadReaders() },
  moreReaders: { on: ['more readers'], run: () => view.loadReaders() },
  review: { on: ['reviewed'], run: () => view.loadReview() },
  before: { on: ['all time'], run: () => view.loadBefore() },
  earlier: { on: ['year', 'page'], run: () => view.loadYear() },
});

export class Learner extends Dashboard {
  keeps = ['data', 'view', 'more', 'years', 'met', 'before', 'readers'];

  constructor(element, user, shell) {
    super(element, user, shell, { queriedAt: 0, announcedAt: -ANNOUNCE, more: {} });
    this.at = new URLSearchParams(location.hash.split('?')[1]).get('at'); // the section that the address names
    this.years = new Map();
    this.met = new Set(); // the days that met the goal, as far as they are loaded
    this.loads = new Loads(table(this), (problem) => this.fail(problem));
    this.on('click', (event) => this.click(event));
    this.on('toggle', ({ target }) =>
      target.dataset.key === 'reviewed' && !this.view.review && this.loads.happen('reviewed'), true);
    listenForLanguage(this, () => {
      delete this.more.chosen;
      this.loads.forget();
      this.load();
    });
    onPresence(() => this.wake(), this.closing.signal);
    this.load();
  }

  close() {
    super.close();
    this.loads.close();
    this.unsubscribe();
  }

  unsubscribe() {
    this.subscription?.close();
    this.reached?.close();
  }

  load() {
    this.loads.happen('first');
  }

  /** Draw. While another day is loading, nothing changes; if it does not arrive, nothing of the former one stays. */
  draw() {
    if (this.data && (this.data.past ?? null) !== pastDay()) {
      if (!this.problem) return;
      this.data = null;
    }
    super.draw();
    if (!this.loads.isClosed) this.loads.watch(this.element);
  }

  async query() {
    this.queriedAt = performance.now();
    const language = chosenLanguage();
    const answer = await ask(QUERY, { user: this.user, language, ...range() });
    if (!this.closing.signal.aborted && language === chosenLanguage()) this.update(answer, language);
  }

  update({ data, extensions }, language) {
    const before = this.data;
    const { user } = this;
    const projectedTo = extensions?.projectedTo;
    this.data = { ...this.more, ...joinDays(data), projectedTo, language, user, isOwn: !user, past: pastDay() };
    this.showPending();
    this.markMet();
    this.selectDay();
    this.addLoaded();
    this.succeed();
    if (JUMPS.includes(this.at) && this.data.progress) this.jump(this.at);
    this.at = null;
    if (pastDay()) return;
    if (before) this.announce();
    if (before && this.isFeedPolled) {
      import('./celebration.js').then(({ cheerNew }) => cheerNew(this, before), () => {});
    }
    if (this.differs() && this.repeats-- > 0) this.loads.repeat('page');
    this.subscription ??= new Subscription(SUBSCRIPTION, { user: this.user }, {
      data: ({ progress }, extensions) => this.onProgress(progress, extensions?.tasks),
      state: (state) => this.onState(state),
    });
    this.reached ??= new Subscription(MILESTONES, { user: this.user }, {
      data: ({ milestone }) => this.celebrate(milestone),
      // The page shows the state of the other subscription.
      state: (state) => { this.isFeedPolled = state === 'polling'; },
    }, true);
    if (!this.loads.timers.has('minute')) this.tick();
  }

  /** Add the news and the estimates. Until they arrive, the page keeps the former numbers, or their place. */
  addNews() {
    if (pastDay()) return this.add(PAST_QUERY, {});
    const allDays = endedStreak(this.data) && this.loadBefore(); // the news count all study days
    const further = Promise.all([this.countUnmet(), allDays]);
    if (this.data.streak.activeToday) return this.add(TODAY_QUERY, {}, further);
    return this.add(NEWS_QUERY, { monday: newsRange(this.data.day).monday }, further);
  }

  async countUnmet() {
    if (isDescribed(this.data)) return {};
    const { countUnmet } = await import('./scales.js');
    return { unmet: await countUnmet(this.user, this.closing.signal) };
  }

  /** Add, once for the view, what seldom changes. */
  async addFrame() {
    if (!pastDay() && !this.more.curve) await this.add(FRAME_QUERY, { before: newsRange(this.data.day).before });
  }

  async add(query, parameters, further = []) {
    const { language } = this.data;
    const variables = { user: this.user, language, isChosen: Boolean(language), ...parameters };
    const [{ data }, [unmet]] = await Promise.all([ask(query, variables, this.closing.signal), further]);
    if (language !== this.data.language) return; // a newer request is on its way
    Object.assign(this.more, data, unmet);
    Object.assign(this.data, this.more);
    this.draw();
  }

  /** Show a change of the goal or of a rest day, which `isUndone` takes back. If it is not counted yet, say so. */
  changed(change, isCounted) {
    if (this.closing.signal.aborted) return;
    this.pending = isCounted ? null : change;
    const saved = change.isUndone ? 'sent.undone' : 'sent.saved';
    this.shell.announce(t(isCounted ? saved : 'sent.waiting'));
    this.showPending();
    this.draw();
    this.loads.happen('change');
  }

  showPending() {
    const { goal, restDays } = this.data;
    const { goal: answers, rest, isUndone = false } = this.pending ?? {};
    const isShown = rest ? restDays.has(rest) !== isUndone : answers === (goal?.answersPerDay ?? 0);
    if (isShown) this.pending = null;
    this.data.pending = this.pending;
  }

  command(name) {
    return this.use(async () => {
      const { open } = await withTexts(import('./commands.js'));
      if (!this.closing.signal.aborted) open(name, this);
    });
  }

  onState(state) {
    this.isLive = state === 'live';
    if (state.kind === 'signed-out') this.shell.signedOut();
    else this.shell.live(state);
  }

  /** Look at the clock: what is due to be loaded, and how much of the day is left. */
  tick() {
    this.loads.after('minute', MINUTE, () => this.tick());
    if (isAway()) return;
    const isComplete = this.isLive && !countBehind(this.data.projections);
    if (performance.now() > this.queriedAt + IDLE) this.loads.happen('batch');
    else if (!isComplete && performance.now() > this.queriedAt + MINUTE / 2) this.loads.happen('counting');
    else this.draw();
  }

  celebrate(milestone) {
    this.milestone = milestone;
    this.shell.announce(reachedText(milestone));
    this.loads.after('cheer', CHEER, () => {
      this.milestone = null;
      this.draw();
    });
    this.loads.happen('change');
    this.draw();
    import('./celebration.js').then(({ cheer }) => cheer(this.element.querySelector('.cheer')), () => {});
  }

  /** Query again if the progress has changed. The first message of a connection may contain an unchanged progress. */
  onProgress(progress, tasks) {
    const haveOthers = this.told !== undefined && tasks !== this.toldTasks;
    Object.assign(this, { told: progress, toldTasks: tasks, repeats: MAX_REPEATS });
    if (this.differs()) this.loads.happen('change');
    if (haveOthers) this.loads.happen('tasks changed');
  }

  /** Load the tasks again: a teacher has set one, changed its day or taken it back. */
  async loadTasks() {
    if (pastDay() || !this.more.tasks) return;
    const { data: { tasks } } = await ask(TASKS_QUERY, { user: this.user }, this.closing.signal);
    Object.assign(this.more, { tasks });
    Object.assign(this.data, { tasks });
    this.draw();
  }

  differs() {
    return this.told !== undefined && JSON.stringify(this.told) !== JSON.stringify(this.data.progress);
  }

  /** Add what was loaded apart from the page's query: the selected year, and all days before. */
  addLoaded() {
    const loaded = this.years.get(this.view.year);
    if (loaded) this.addYear(loaded);
    if (this.before) this.addYear({ days: this.before, restDays: [] });
  }

  addYear({ days, restDays }) {
    for (const [date, row] of byDate(days)) this.data.days.set(date, row);
    for (const date of restDays) this.data.restDays.add(date);
  }

  async loadBefore() {
    if (this.before) return;
    const { loadBefore } = await import('./further_days.js');
    this.before = await loadBefore(this.user, this.data, Number(range().from.slice(0, 4)), this.closing.signal);
    this.addLoaded();
    this.draw();
  }

  /** Load a part of the view with what a module exports as `load`, and show it unless the page shows another day. */
  async loadPart(name, open) {
    const day = pastDay();
    const { load } = await open();
    const part = await load(this.user, this.closing.signal);
    if (day === pastDay()) this.view[name] = part;
    this.draw();
  }

  /** Load the current level if it is one of several: it depends on the scales. */
  async loadLastLevel() {
    const { choice } = levelsOf(this.data, this.view);
    if (!choice || !this.view.scales) return;
    const { findLastLevel } = await import('./scales.js');
    this.view.lastLevel = await findLastLevel(this.user, choice, this.closing.signal);
    this.draw();
  }

  async loadReaders() {
    const { Readers } = await import('./readers.js');
    const readers = this.readers ?? new Readers(this.user);
    await readers.load(this.closing.signal);
    this.readers = readers;
    this.draw();
  }

  /** Mark the days that met the goal. A past day has only those of its goal's week. */
  markMet() {
    const { goal, day } = this.data;
    const met = pastDay() ? new Set() : this.met;
    goal?.week.forEach((isMet, index) => met[isMet ? 'add' : 'delete'](dayAfter(day, index - 6)));
    this.data.met = met;
  }

  /** Load the days of the selected year that met the goal. Without them, the year has no marks of earlier weeks. */
  async loadMet() {
    const { from } = this.span;
    if (pastDay() || this.metFrom <= from) return;
    const { metDays } = await import('./further_days.js');
    for (const day of await metDays(this.user, from, this.closing.signal)) this.met.add(day);
    this.metFrom = from;
    if (!pastDay()) this.drawYear();
  }

  /**
   * Load the grid's days outside of the query's range: an older year, in the first days of a year the beginning of the
   * last twelve months, or any days if the browser's clock is wrong.
   */
  async loadYear() {
    const missing = daysOutside(range(), this.span, this.data.day);
    if (!missing) return;
    const { year, day } = this.view;
    this.view.loading = this.years.has(year) ? null : year;
    this.draw();
    try {
      const { data } = await ask(EARLIER_QUERY, { user: this.user, ...missing });
      this.years.set(year, data);
      this.addYear(data);
      const isUntouched = this.view.year === year && this.view.day === day; // otherwise, the user has chosen a day
      const isOlder = year !== 'recent'; // the last twelve months have their day already
      if (isOlder && isUntouched && this.view.loading === year) this.view.day = this.lastDay();
    } finally {
      if (this.view.loading === year) this.view.loading = null; // otherwise, another year is loading
    }
    this.draw();
  }

  announce() {
    this.loads.stop('announce');
    const wait = this.announcedAt + ANNOUNCE - performance.now();
    if (wait > 0) {
      this.loads.after('announce', wait, () => this.announce());
      return;
    }
    const row = this.data.days.get(this.data.day);
    const answers = t('count.answers', { count: row?.answers ?? 0 });
    const streak = t('streak.days', { count: this.data.streak.current });
    const isHeard = this.shell.announce(t('learner.updated', { answers, streak }));
    if (isHeard) this.announcedAt = performance.now();
  }

  wake() {
    if (!isAway() && performance.now() > this.queriedAt + 60_000) this.load();
  }

  click({ target }) {
    const button = target.closest(CONTROLS);
    if (!button || button.getAttribute('aria-disabled') === 'true') return;
    const { year: to, step, day } = button.dataset;
    if (button.dataset.range) {
      this.view.range = button.dataset.range;
      this.draw();
      if (button.dataset.range === 'all') this.loads.happen('all time');
    }
    if (button.dataset.jump) this.jump(button.dataset.jump);
    if (button.dataset.share) this.use(() => this.share());
    if (button.dataset.command) this.command(button.dataset.command);
    if (button.dataset.play) this.play();
    if (button.dataset.export) this.use(() => this.download.click(button.dataset.export));
    if (button.dataset.readers) this.loads.happen('more readers');
    if (to) this.goToYear(to === 'recent' ? to : Number(to));
    if (step) this.goToDay(dayAfter(this.view.day, Number(step)));
    if (day) this.goToDay(day, true);
  }

  /** Show the ends of the selected year's months, from the first day of study on; if this is going on, stop it. */
  play() {
    if (this.view.months) return this.stop();
    this.unsubscribe();
    this.loads.stop('minute');
    Object.assign(this, { hasPlayed: true, subscription: null, reached: null, isFeedPolled: false });
    this.shell.live(null);
    const last = presentDay() ?? this.data.day;
    const [first] = [...this.data.days.keys()].sort();
    this.view.span = this.span; // the grid stays while its days fill
    this.view.months = monthEnds(this.span).filter((end) => first <= end && end < last);
    this.showMonth();
  }

  stop() {
    this.loads.stop('month');
    Object.assign(this.view, { months: null, span: null });
    this.loads.forget(); // to load again what is in sight
    this.draw();
  }

  async showMonth() {
    const day = this.view.months.shift() ?? null;
    try {
      await select(this.user, day);
      if (this.closing.signal.aborted) return;
      Object.assign(this.view, { sessions: null, loading: null });
      this.years.clear(); // they show the former day, as what follows does
      Object.assign(this, { before: null, more: {} });
      this.loads.forget();
      await this.loads.load('page');
      if (this.closing.signal.aborted) return;
      history.replaceState(null, '', on(day, location.hash || '#/'));
      this.shell.moved();
      if (this.problem) this.view.months = null;
    } catch (problem) {
      this.view.months = null;
      return this.fail(problem);
    }
    if (!this.view.months) return;
    this.goToDay(this.data.day);
    if (!day) return this.stop();
    this.loads.after('month', MONTH, () => this.showMonth());
  }

  async loadReview() {
    const { cards } = await withTexts(import('./review.js'));
    this.view.review = cards;
    this.draw();
  }

  async share() {
    const { share } = await withTexts(import('./review.js'));
    const year = calendarYear(this.view.year, this.data.day);
    if (!await share(this.data, year) || this.closing.signal.aborted) return;
    this.view.copied = year;
    this.draw();
    this.shell.announce(t('sent.copied'));
  }

  goToYear(to) {
    this.view.year = to;
    this.view.day = this.lastDay();
    this.draw();
    this.loads.happen('year');
  }
}
