// A learner's dashboard as it is drawn: its sections, the selected year and day, and what moves.

import { show, h } from './dom.js';
import { Download } from './download.js';
import { freshness } from './freshness.js';
import { celebration, changesPace, howFar } from './how_far.js';
import { join, t } from './i18n.js';
import { improving } from './improving.js';
import { appLink, items } from './items.js';
import { LEAST, has } from './layout.js';
import { nameOf } from './names.js';
import { View } from './problems.js';
import * as session from './signed_in.js';
import { pastDay, withParameter } from './past_day.js';
import { pills, preview, setting, today } from './today.js';
import { when } from './when_section.js';
import { clampDay, moveDay, spanOf, year } from './year.js';

export class Dashboard extends View {
  constructor(element, user, shell, fields) {
    super(element, shell, { user, ...fields });
    this.path = pathOf(location.hash);
    this.view = { year: null, day: null, preview: null, loading: null, months: null, range: 'year', states: null };
    const kept = `scale:${user ?? session.learner()}`;
    this.view.scale = session.read(kept, 'localStorage');
    // A section is the current one while it crosses a line below the section bar.
    this.passing = new IntersectionObserver((seen) => this.pass(seen), { rootMargin: '-30% 0px -69% 0px' });
    this.download = new Download(user, shell, () => this.draw());
    this.on('keydown', (event) => this.key(event));
    this.on('change', ({ target }) => {
      if (changesPace(target)) this.draw();
      if (target.name !== 'scale') return;
      this.view.scale = target.value;
      session.store(kept, target.value, 'localStorage');
      this.draw();
      this.loads.happen('scale');
    });
    this.on('pointerover', (event) => event.pointerType === 'mouse' && this.preview(event.target.dataset?.day));
  }

  close() {
    super.close();
    this.download.close();
    this.passing.disconnect();
  }

  draw() {
    if (this.closing.signal.aborted) return;
    const before = this.figures();
    const place = this.topOfYear();
    super.draw();
    if (this.hasPlayed && place > 0 && place < innerHeight) scrollBy(0, this.topOfYear() - place); // the grid stays
    this.move(before);
    if (this.scrolledYear !== this.view.year && this.data?.progress) this.scrollToDay();
    for (const id of JUMPS) {
      const section = this.element.querySelector(`#${id}`)?.closest('section');
      if (section) this.passing.observe(section);
    }
  }

  topOfYear() {
    return this.hasPlayed && this.element.querySelector('#year')?.getBoundingClientRect().top;
  }

  figures() {
    return new Map([...this.element.querySelectorAll('.tile .figure strong:not(.ghost *)')]
      .map((one) => [one, one.textContent]));
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
    import('./celebration.js').then(({ cheer, rise }) => {
      for (const [one] of changed) rise(one);
      if (hasMet) cheer(this.element.querySelector('.tile:has(.ring)'));
    }, () => {});
  }

  sections() {
    const { data, user } = this;
    const isPast = Boolean(pastDay());
    const head = title(user, data.progress?.displayName);
    if (isNew(data)) return [head, isPast ? nothing('then.nothing') : welcome(data), !isPast && freshness(data)];
    const parts = {
      'how-far': has('how-far', data) && howFar(data, this.view), improving: improving(data, this.view),
      when: when(data, this.view), items: has('items', data) && items(data),
    };
    return [
      head, jumps(user, JUMPS.filter((id) => parts[id] ?? !(isPast && id === 'my-data')), this.view.section),
      today(data, !isPast && celebration(this.milestone)), year(data, this.view), Object.values(parts), later(parts),
      !isPast && [this.download.section(this.readers), freshness(data)],
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

  get span() {
    return this.view.span ?? spanOf(this.view.year, this.data.day);
  }

  selectDay() {
    const { day, streak, days } = this.data;
    if (this.view.year) return;
    const last = streak.lastStudyDate ?? [...days.keys()].at(-1) ?? day;
    const isRecent = last >= spanOf('recent', day).from;
    this.view.year = isRecent ? 'recent' : Number(last.slice(0, 4));
    this.view.day = clampDay(isRecent ? day : last, this.span, day);
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

  jump(id) {
    const heading = this.element.querySelector(`#${id}`); // none if the section has nothing to say yet
    heading?.focus({ preventScroll: true });
    heading?.closest('section').scrollIntoView();
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

/** The name of the learner, also on a day before it was recorded; others also see the id, as names may be equal. */
function title(user, recorded) {
  const name = recorded ?? (user && nameOf('learner', user));
  return h('header', { 'data-key': 'title', class: user ? null : 'unseen' },
    h('h1', null, name ? t('learner.other', { user: name }) : t('learner.own')),
    user && name !== user && h('p', { class: 'note', translate: 'no' }, user));
}

export const JUMPS = ['today', 'year', 'how-far', 'improving', 'when', 'items', 'my-data'];

/** Buttons that jump to the sections. Links would change the URL's hash, but the hash already names the view. */
const jumps = (user, shown, current) => h('nav', {
  class: 'jumps', 'aria-label': t('learner.sections'), 'data-key': 'jumps',
},
  shown.map((id) =>
    h('button', { type: 'button', class: 'plain', 'data-jump': id, 'aria-current': id === current ? 'true' : null },
      t(user && id === 'my-data' ? 'data.theirs' : `jump.${id}`))));

/** A line that says when the sections come that have nothing to say yet. */
function later(parts) {
  const names = Object.keys(parts).filter((id) => !parts[id]).map((id) => {
    const [what, count] = LEAST[id];
    return t(`later.${what}`, { name: t(`jump.${id}`), count });
  });
  return names.length > 0 && h('p', { class: 'note', 'data-key': 'later' }, t('later.line', { names: join(names) }));
}

const nothing = (text) => h('section', { class: 'card wide welcome', 'data-key': 'welcome' },
  h('h2', null, t('welcome.nothing')), h('p', null, t(text)));

function welcome(data) {
  if (data.user) return nothing('welcome.unknown');
  return h('section', { class: 'card wide welcome', 'data-key': 'welcome' },
    h('h2', null, t('welcome.title')),
    h('ol', { class: 'steps' }, ['first', 'second', 'third'].map((step) => h('li', null, t(`welcome.${step}`)))),
    h('div', { class: 'tools' }, appLink('next.open', {}), setting(data)),
    pills(data),
    h('p', { class: 'note' }, t('welcome.live')),
    preview());
}
