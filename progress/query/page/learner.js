// A learner's dashboard. One query loads what is painted first; the page sends it again after each change. Others
// load what takes longer.

import { show, h } from './dom.js';
import { Download } from './download.js';
import { dayAfter } from './format.js';
import { countBehind, freshness } from './freshness.js';
import { celebration, howFar, reachedText } from './how_far.js';
import { t } from './i18n.js';
import { improving } from './improving.js';
import { items } from './items.js';
import { chosenLanguage, listenForLanguage } from './languages.js';
import { View } from './problems.js';
import {
  EARLIER_QUERY, FRAME_QUERY, MILESTONES, NEWS_QUERY, PAST_QUERY, QUERY, SUBSCRIPTION, byDate, joinDays, range,
} from './query.js';
import { newsRange } from './news.js';
import { share } from './review.js';
import { nameOf } from './names.js';
import { isAway, onPresence } from './presence.js';
import { Subscription } from './stream.js';
import { ask, on, pastDay, presentDay, select, withParameter } from './then.js';
import { appLink, pills, preview, setting, today } from './today.js';
import { when } from './when.js';
import { calendarYear, clampDay, monthEnds, moveDay, spanOf, year } from './year.js';

// Intervals in milliseconds.
const MIN_INTERVAL = 1_000; // Between two queries, even if changes arrive faster.
const IDLE_INTERVAL = 300_000; // Between two queries if no change arrives: a day may end, or the batch job may run.
const POLL_INTERVAL = 30_000; // Between two queries if no subscription is live, or if events are still being counted.
const ANNOUNCE_INTERVAL = 20_000; // Between two announcements to screen readers.
const NEWS_INTERVAL = 10_000; // Between two queries for the news.
const MONTH_INTERVAL = 1_500; // Between two months that play.
const CHEER_TIME = 20_000; // A milestone is told for this time; its card keeps it.

// A response may come from the cache, which is at most five seconds behind the subscription. So often, at most, the
// page queries again, once per MIN_INTERVAL, if a response differs from what the subscription has told.
const MAX_REPEATS = 8;

export class Learner extends View {
  /** `user` is null for the caller's own dashboard. */
  constructor(element, user, shell) {
    super(element, shell, {
      user, queriedAt: 0, announcedAt: -ANNOUNCE_INTERVAL, more: {}, moreAt: -NEWS_INTERVAL,
    });
    this.path = pathOf(location.hash);
    this.at = new URLSearchParams(location.hash.split('?')[1]).get('at'); // the section that the address names
    this.view = { year: null, day: null, preview: null, loading: null, months: null, range: 'year', states: null };
    this.years = new Map();
    this.met = new Set(); // the days that met the goal, as far as they are loaded
    // A section is the current one while it crosses a line below the section bar.
    this.passing = new IntersectionObserver((seen) => this.pass(seen), { rootMargin: '-30% 0px -69% 0px' });
    // What a section or a card needs is loaded when it is seen.
    this.loads = {
      year: () => this.loadMet(), states: () => this.view.states ?? this.loadStates(), readers: () => this.readers ?? this.loadReaders(),
    };
    this.seeing = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) {
        if (isIntersecting) this.loads[target.dataset.key]();
      }
    });
    this.download = new Download(user, shell, () => this.draw());
    this.listen();
    this.load();
  }

  close() {
    super.close();
    this.unsubscribe();
    this.download.close();
    clearTimeout(this.later);
    clearTimeout(this.moreLater);
    clearTimeout(this.announcing);
    clearInterval(this.clock);
    clearTimeout(this.playing);
    clearTimeout(this.cheering);
    this.seeing.disconnect();
    this.passing.disconnect();
  }

  unsubscribe() {
    this.subscription?.close();
    this.reached?.close();
  }

  /** Query again. Of many calls in a short time, only the first and the last lead to a query. */
  load() {
    if (this.isLoading) {
      this.isOutdated = true;
      return;
    }
    clearTimeout(this.later);
    const wait = this.queriedAt + MIN_INTERVAL - performance.now();
    if (this.data && wait > 0) this.later = setTimeout(() => this.load(), wait);
    else this.query();
  }

  async query() {
    this.isLoading = true;
    this.isOutdated = false;
    this.queriedAt = performance.now();
    try {
      const language = chosenLanguage();
      const answer = await ask(QUERY, { user: this.user, language, ...range() });
      if (this.closing.signal.aborted) return;
      this.update(answer, language);
      this.loadMore(language);
      if (this.isOutsideRange()) await this.loadYear();
    } catch (problem) {
      this.fail(problem);
    } finally {
      this.isLoading = false;
    }
    if (this.isOutdated) this.load();
  }

  update({ data, extensions }, language) {
    const before = this.data;
    const { user } = this;
    this.data = { languages: [], ...this.more, ...joinDays(data), projectedTo: extensions?.projectedTo, language, user, isOwn: !user };
    this.showPending();
    this.markMet();
    this.selectDay();
    if (this.problem) this.seeing.disconnect(); // to load what is in sight and has not arrived
    this.succeed();
    if (JUMPS.includes(this.at) && this.data.progress) this.jump(this.at);
    this.at = null;
    if (pastDay()) return;
    if (before) this.announce();
    if (before && this.isFeedPolled) import('./cheer.js').then(({ cheerNew }) => cheerNew(this, before), () => {});
    if (this.differs() && this.repeats-- > 0) this.isOutdated = true;
    this.subscription ??= new Subscription(SUBSCRIPTION, { user: this.user }, {
      data: ({ progress }) => this.onProgress(progress),
      state: (state) => this.onState(state),
    });
    this.reached ??= new Subscription(MILESTONES, { user: this.user }, {
      data: ({ milestone }) => this.celebrate(milestone),
      // The page shows the state of the other subscription.
      state: (state) => { this.isFeedPolled = state === 'polling'; },
    }, true);
    this.clock ??= setInterval(() => isAway() || this.tick(), POLL_INTERVAL);
  }

  /**
   * Load what takes longer than what is painted first: the news, at most once per NEWS_INTERVAL, then once for the view
   * what seldom changes. Until it arrives, the page keeps the former numbers, or their place.
   */
  async loadMore(language) {
    clearTimeout(this.moreLater);
    const wait = this.moreAt + NEWS_INTERVAL - performance.now();
    if (wait > 0 && language === this.more.language && !pastDay()) {
      this.moreLater = setTimeout(() => this.loadMore(language), wait);
      return;
    }
    const { user, data: { day } } = this;
    this.moreAt = performance.now();
    const isFramed = this.more.curve && !language && !pastDay();
    const { monday, before } = newsRange(day);
    try {
      await this.add(pastDay() ? [PAST_QUERY, {}] : [NEWS_QUERY, { monday }], language);
      if (!pastDay() && !isFramed) await this.add([FRAME_QUERY, { before }], language);
    } catch {
      this.moreAt = -NEWS_INTERVAL; // the first query reports problems
    }
  }

  async add([query, parameters], language) {
    const day = pastDay();
    const { data } = await ask(query, { user: this.user, language, ...parameters }, this.closing.signal);
    if (language !== this.data.language || day !== pastDay()) return; // a newer request is on its way
    Object.assign(this.more, data, { language });
    Object.assign(this.data, this.more);
    this.draw();
  }

  /**
   * Show a change that the learner has made: the new goal, or a rest day that was taken or, if `isUndone`, taken back.
   * If it is not counted yet, say so.
   */
  changed(change, isCounted) {
    if (this.closing.signal.aborted) return;
    this.pending = isCounted ? null : change;
    const saved = change.isUndone ? 'command.undone' : 'command.saved';
    this.shell.announce(t(isCounted ? saved : 'command.waiting'));
    this.showPending();
    this.draw();
    this.load();
  }

  showPending() {
    const { goal, restDays } = this.data;
    const { goal: answers, rest, isUndone = false } = this.pending ?? {};
    const isShown = rest ? restDays.has(rest) !== isUndone : answers === (goal?.answersPerDay ?? 0);
    if (isShown) this.pending = null;
    this.data.pending = this.pending;
  }

  command(name) {
    return this.use(async () => (await import('./commands.js')).open(name, this));
  }

  onState(state) {
    this.isLive = state === 'live';
    if (state.kind === 'signed-out') this.shell.signedOut();
    else this.shell.live(state);
  }

  tick() {
    const isComplete = this.isLive && !countBehind(this.data.projections);
    if (!isComplete || performance.now() > this.queriedAt + IDLE_INTERVAL) this.load();
  }

  celebrate(milestone) {
    this.milestone = milestone;
    this.shell.announce(reachedText(milestone));
    clearTimeout(this.cheering);
    this.cheering = setTimeout(() => {
      this.milestone = null;
      this.draw();
    }, CHEER_TIME);
    this.load();
    this.draw();
    import('./cheer.js').then(({ cheer }) => cheer(this.element.querySelector('.cheer')), () => {});
  }

  /** Query again if the progress has changed. The first message of a connection may contain an unchanged progress. */
  onProgress(progress) {
    Object.assign(this, { told: progress, repeats: MAX_REPEATS });
    if (this.differs()) this.load();
  }

  /** Return whether the shown progress differs from what the subscription has told. */
  differs() {
    return this.told !== undefined && JSON.stringify(this.told) !== JSON.stringify(this.data.progress);
  }

  /** Select the year and day to show at first. Add the selected year's days if they were loaded separately. */
  selectDay() {
    const { day, streak, days } = this.data;
    if (!this.view.year) {
      const last = streak.lastStudyDate ?? [...days.keys()].at(-1) ?? day;
      const isRecent = last >= spanOf('recent', day).from;
      this.view.year = isRecent ? 'recent' : Number(last.slice(0, 4));
      this.view.day = clampDay(isRecent ? day : last, this.span, day);
    }
    const loaded = this.years.get(this.view.year);
    if (loaded) this.addYear(loaded);
    this.addBefore();
  }

  addYear({ days, restDays }) {
    for (const [date, row] of byDate(days)) this.data.days.set(date, row);
    for (const date of restDays) this.data.restDays.add(date);
  }

  /** Add the days before the query's range, as far as they are loaded. */
  addBefore() {
    if (this.before) this.addYear({ days: this.before, restDays: [] });
  }

  /** Load the days before the query's range, once. */
  async loadBefore() {
    if (this.before || this.isLoadingBefore) return;
    this.isLoadingBefore = true;
    try {
      const { loadBefore } = await import('./before.js');
      this.before = await loadBefore(this.user, this.data, Number(range().from.slice(0, 4)), this.closing.signal);
    } catch (problem) {
      this.fail(problem);
      return;
    } finally {
      this.isLoadingBefore = false;
    }
    this.addBefore();
    if (!this.closing.signal.aborted) this.draw();
  }

  /** Load the states of the words by week, and the module that draws them. */
  async loadStates() {
    this.view.states = () => null;
    try {
      const { loadStates, states } = await import('./states.js');
      const weeks = await loadStates(this.user, this.data.day, this.closing.signal);
      this.view.states = (data, since) => states(weeks, data, since);
    } catch (problem) {
      this.view.states = null;
      this.fail(problem);
      return;
    }
    if (!this.closing.signal.aborted) this.draw();
  }

  /** Load the next page of those who have read the record. */
  async loadReaders() {
    if (this.isReading) return;
    this.isReading = true;
    try {
      const { Readers } = await import('./readers.js');
      const readers = this.readers ?? new Readers(this.user);
      await readers.load(this.closing.signal);
      this.readers = readers;
    } catch (problem) {
      this.fail(problem);
      return;
    } finally {
      this.isReading = false;
    }
    if (!this.closing.signal.aborted) this.draw();
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
    const before = this.metFrom;
    this.metFrom = from;
    try {
      const { metDays } = await import('./met_days.js');
      for (const day of await metDays(this.user, from, this.closing.signal)) this.met.add(day);
    } catch {
      this.metFrom = before; // the page's own query reports problems
      return;
    }
    if (!this.closing.signal.aborted && !pastDay()) this.drawYear();
  }

  /** The first and the last day of the grid. */
  get span() {
    return this.view.span ?? spanOf(this.view.year, this.data.day);
  }

  isOutsideRange() {
    const { from, to } = range();
    return this.span.from < from || this.span.to > `${Number(to.slice(0, 4)) + 1}-01-06`;
  }

  /** Load a year outside of the query's range: an older year, or any year if the browser's clock is wrong. */
  async loadYear() {
    const { year, day } = this.view;
    this.view.loading = this.years.has(year) ? null : year;
    this.draw();
    try {
      const { data } = await ask(EARLIER_QUERY, { user: this.user, ...this.span });
      this.years.set(year, data);
      this.addYear(data);
      const isUntouched = this.view.year === year && this.view.day === day; // otherwise, the user has chosen a day
      if (isUntouched && this.view.loading === year) this.view.day = this.lastDay();
    } finally {
      if (this.view.loading === year) this.view.loading = null; // otherwise, another year is loading
    }
    if (!this.closing.signal.aborted) this.draw();
  }

  draw() {
    const before = this.figures();
    const place = this.topOfYear();
    super.draw();
    if (this.hasPlayed && place > 0 && place < innerHeight) scrollBy(0, this.topOfYear() - place); // the grid stays
    this.move(before);
    if (this.scrolledYear !== this.view.year && this.data?.progress) this.scrollToDay();
    const seen = Object.keys(this.loads).map((key) => `[data-key=${key}]`);
    for (const section of this.element.querySelectorAll(seen)) {
      this.seeing.observe(section);
    }
    for (const id of JUMPS) {
      const section = this.element.querySelector(`#${id}`)?.closest('section');
      if (section) this.passing.observe(section);
    }
  }

  topOfYear() {
    return this.hasPlayed && this.element.querySelector('#year')?.getBoundingClientRect().top;
  }

  /** The large numbers of the section "Today", by their element. */
  figures() {
    return new Map([...this.element.querySelectorAll('.tile .figure strong:not(.ghost *)')].map((one) => [one, one.textContent]));
  }

  /** Let changed numbers move, and celebrate a goal that has just been met. */
  move(before) {
    const changed = [...before].filter(([one, text]) => one.isConnected && one.textContent !== text);
    const { goal } = this.data ?? {};
    const isMet = Boolean(goal) && goal.answersToday >= goal.answersPerDay;
    const isPast = this.view.months || pastDay(); // only what happens now moves and is celebrated
    const hasMet = isMet && this.wasMet === false && !isPast;
    this.wasMet = this.data && !isPast ? isMet : undefined;
    if (isPast || !changed.length && !hasMet) return;
    import('./cheer.js').then(({ cheer, rise }) => {
      for (const [one] of changed) rise(one);
      if (hasMet) cheer(this.element.querySelector('.tile:has(.ring)'));
    }, () => {});
  }

  sections() {
    const { data, user } = this;
    const isPast = Boolean(pastDay());
    const head = title(user, data.progress?.displayName);
    if (isNew(data)) return [head, isPast ? nothing('then.nothing') : welcome(data), !isPast && freshness(data)];
    return [
      head, jumps(user, isPast, this.view.section), today(data, !isPast && celebration(this.milestone)), improving(data, this.view), howFar(data),
      year(data, this.view), when(data), items(data), !isPast && [this.download.section(this.readers), freshness(data)],
    ];
  }

  /** Draw only the section of the year, because a moving pointer can select many days per second. */
  drawYear() {
    show(this.element.querySelector('[data-key=year]'), ...year(this.data, this.view).childNodes);
  }

  scrollToDay() {
    const cell = this.cell();
    if (!cell) return;
    this.scrolledYear = this.view.year;
    const frame = cell.closest('.scroll');
    frame.scrollLeft = cell.offsetLeft - frame.clientWidth + 4 * cell.offsetWidth;
  }

  cell() {
    return this.element.querySelector(`[data-day="${this.view.day}"]`);
  }

  /** Announce the newest update, at most once per ANNOUNCE_INTERVAL. */
  announce() {
    clearTimeout(this.announcing);
    const wait = this.announcedAt + ANNOUNCE_INTERVAL - performance.now();
    if (wait > 0) {
      this.announcing = setTimeout(() => this.announce(), wait);
      return;
    }
    const row = this.data.days.get(this.data.day);
    const answers = t('count.answers', { count: row?.answers ?? 0 });
    const streak = t('streak.days', { count: this.data.streak.current });
    const isHeard = this.shell.announce(t('learner.updated', { answers, streak }));
    if (isHeard) this.announcedAt = performance.now();
  }

  listen() {
    this.on('click', (event) => this.click(event));
    listenForLanguage(this, () => {
      this.queriedAt = 0; // at once
      this.load();
    });
    this.on('keydown', (event) => this.key(event));
    this.on('pointerover', (event) => event.pointerType === 'mouse' && this.preview(event.target.dataset?.day));
    onPresence(() => this.wake(), this.closing.signal);
  }

  wake() {
    if (!isAway() && performance.now() > this.queriedAt + 60_000) this.load();
  }

  click({ target }) {
    const button = target.closest(
      '[data-year], [data-step], [data-day], [data-export], [data-share], [data-jump], [data-play], [data-command], [data-range], [data-readers]');
    if (!button || button.getAttribute('aria-disabled') === 'true') return;
    const { year: to, step, day } = button.dataset;
    if (button.dataset.range) {
      this.view.range = button.dataset.range;
      this.draw();
      if (button.dataset.range === 'all') this.loadBefore();
    }
    if (button.dataset.jump) this.jump(button.dataset.jump);
    if (button.dataset.share) this.share();
    if (button.dataset.command) this.command(button.dataset.command);
    if (button.dataset.play) this.play();
    if (button.dataset.export) this.use(() => this.download.click(button.dataset.export));
    if (button.dataset.readers) this.loadReaders();
    if (to) this.goToYear(to === 'recent' ? to : Number(to));
    if (step) this.goToDay(dayAfter(this.view.day, Number(step)));
    if (day) this.goToDay(day, true);
  }

  /** Show the ends of the selected year's months, from the first day of study on; if this is going on, stop it. */
  play() {
    if (this.view.months) return this.stop();
    this.unsubscribe();
    clearInterval(this.clock);
    Object.assign(this, { hasPlayed: true, subscription: null, reached: null, isFeedPolled: false, clock: null });
    this.shell.live(null);
    const last = presentDay() ?? this.data.day;
    const [first] = [...this.data.days.keys()].sort();
    this.view.span = this.span; // the grid stays while its days fill
    this.view.months = monthEnds(this.span).filter((end) => first <= end && end < last);
    this.showMonth();
  }

  stop() {
    clearTimeout(this.playing);
    Object.assign(this.view, { months: null, span: null });
    this.seeing.disconnect(); // to load again what is in sight
    this.draw();
  }

  /** Show the next month's end; after the last one, show the present. */
  async showMonth() {
    const day = this.view.months.shift() ?? null;
    const { languages = [] } = this.more;
    try {
      await select(this.user, day);
      history.replaceState(null, '', on(day, location.hash || '#/'));
      this.shell.moved();
      this.years.clear(); // they show the former day, as what follows does
      Object.assign(this, { before: null, more: { languages }, moreAt: -NEWS_INTERVAL });
      await this.query();
    } catch (problem) {
      this.view.months = null;
      return this.fail(problem);
    }
    if (this.closing.signal.aborted || !this.view.months) return;
    this.goToDay(this.data.day);
    if (!day) return this.stop();
    this.playing = setTimeout(() => this.showMonth(), MONTH_INTERVAL);
  }

  /** Mark the section in the section bar; the address keeps it. */
  pass(seen) {
    const entry = seen.find(({ isIntersecting }) => isIntersecting);
    const id = JUMPS.find((one) => entry?.target.querySelector(`#${one}`));
    // After a click on a link, the address is already that of the next view.
    if (!id || id === this.view.section || pathOf(location.hash) !== this.path) return;
    this.view.section = id;
    const before = location.hash || '#/';
    const address = withParameter(before, 'at', id === JUMPS[0] ? null : id); // which is where the view begins
    if (address !== before) history.replaceState(null, '', address);
    for (const button of this.element.querySelectorAll('[data-jump]')) {
      if (button.dataset.jump === id) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
    }
    const current = this.element.querySelector('.jumps [aria-current]');
    const bar = current.parentElement; // scrollIntoView() would stop the page's own scrolling
    bar.scrollLeft = current.offsetLeft + (current.offsetWidth - bar.clientWidth) / 2;
  }

  /** Scroll to a section, and move the keyboard focus to its heading. */
  jump(id) {
    const heading = this.element.querySelector(`#${id}`);
    heading.focus({ preventScroll: true });
    heading.closest('section').scrollIntoView();
  }

  async share() {
    const year = calendarYear(this.view.year, this.data.day);
    if (!await share(this.data, year) || this.closing.signal.aborted) return;
    this.view.copied = year;
    this.draw();
    this.shell.announce(t('review.copied'));
  }

  key(event) {
    if (!event.target.dataset?.day || event.altKey || event.metaKey) return;
    const to = moveDay(this.view.day, event.key, this.span, event.ctrlKey);
    if (!to) return;
    event.preventDefault();
    this.goToDay(to, true);
  }

  goToDay(day, focus = false) {
    this.view.day = clampDay(day, this.span, this.data.day);
    this.view.preview = null;
    this.drawYear();
    if (focus) this.cell()?.focus();
  }

  preview(day = null) {
    if (!this.data || this.view.preview === day) return;
    this.view.preview = day;
    this.drawYear();
  }

  goToYear(to) {
    this.view.year = to;
    this.view.day = this.lastDay();
    this.draw();
    this.loadMet();
    if (this.isOutsideRange()) this.loadYear().catch((problem) => this.fail(problem));
  }

  /** The last study day of the grid or, without one, the grid's last day that is not in the future. */
  lastDay() {
    const { from, to } = this.span;
    const last = [...this.data.days.keys()].filter((day) => from <= day && day <= to).sort().at(-1);
    return clampDay(last ?? to, this.span, this.data.day);
  }
}

const pathOf = (hash) => hash.split('?')[0] || '#/';

/** True before the first answer, session or review. */
function isNew({ progress }) {
  if (!progress) return true;
  const { unlearned, ...stages } = progress.masteryStats;
  return progress.accuracyRate == null && !progress.totalSessionsCompleted && !Object.values(stages).some(Boolean);
}

/**
 * The name of the learner, if there is one, also on a day before it was recorded; others also see the id, because names
 * may be equal.
 */
function title(user, recorded) {
  const name = recorded ?? (user && nameOf('learner', user));
  return h('header', { 'data-key': 'title', class: name ? null : 'unseen' },
    h('h1', null, name ? t('learner.other', { user: name }) : t('learner.own')),
    user && name !== user && h('p', { class: 'note', translate: 'no' }, user));
}

const JUMPS = ['today', 'improving', 'how-far', 'year', 'when', 'items', 'my-data'];

/** Buttons that jump to the sections. Links would change the URL's hash, but the hash already names the view. */
const jumps = (user, isPast, current) => h('nav', { class: 'jumps', 'aria-label': t('learner.sections'), 'data-key': 'jumps' },
  JUMPS.filter((id) => !isPast || id !== 'my-data').map((id) =>
    h('button', { type: 'button', class: 'plain', 'data-jump': id, 'aria-current': id === current ? 'true' : null },
      t(user && id === 'my-data' ? 'data.theirs' : `jump.${id}`))));

const nothing = (text) => h('section', { class: 'card wide welcome', 'data-key': 'welcome' },
  h('h2', null, t('welcome.nothing')), h('p', null, t(text)));

function welcome(data) {
  if (data.user) return nothing('welcome.unknown');
  return h('section', { class: 'card wide welcome', 'data-key': 'welcome' },
    h('h2', null, t('welcome.title')),
    h('ol', { class: 'steps' }, ['first', 'second', 'third'].map((step) => h('li', null, t(`welcome.${step}`)))),
    h('div', { class: 'tools' }, appLink(0), setting(data)),
    pills(data),
    h('p', { class: 'note' }, t('welcome.live')),
    preview());
}
