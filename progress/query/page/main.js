// The entry point. It signs the user in, and shows the view that the URL names. The hash of a view's URL is
// #/NAME/ARGUMENT/...; #/ shows the learner's own progress.

import { Problem, isReachable, runQuery } from './api.js';
import { h, show, showTapped } from './dom.js';
import { language, loadTexts, selectLanguage, speakOf, t } from './i18n.js';
import { chooseLanguage, inLanguage, languageOf } from './languages.js';
import { mark } from './layout.js';
import { Learner } from './learner.js';
import { arriving, leaveArriving } from './loads.js';
import { chooseGroup, forgetNames, inGroup, learnName, nameOf } from './names.js';
import { isAway, onPresence } from './presence.js';
import { View, forget } from './problems.js';
import * as session from './signed_in.js';
import * as then from './past_day.js';

const ALL = ['learner', 'teacher', 'support', 'admin'];
const MODULE_TIMEOUT_MS = 10_000;
const MIDNIGHT_MS = 10_000; // between two questions whether a day has ended, if the browser's clock is ahead
const DAY_RETRY_MS = 300_000; // between two questions for the day, if the server does not answer
const SLOW_MS = 4_000; // a view that takes longer says so
const RENEWAL_MS = 5_000; // between two looks whether the token must be renewed
const LANDINGS = { teacher: 'group', support: 'group', admin: 'group' }; // the views of a URL without a hash

/**
 * `open(args, parameters)` loads the view's module and resolves to its class and what this is constructed with, between
 * the element and the shell. `args` are the decoded parts of the URL after the name, null if empty: the `user` of a
 * view is null for the caller. `parameters` are the URL's parameters after the question mark. Users with one of the
 * `roles` have a tab for the view in their navigation. The tab's text has the key `view.NAME`. If a view has no tab,
 * `tab` names another view, whose tab is marked instead. A view with `isOfOne` needs its first argument, an id.
 * `title(args, parameters)` is the document's title. A view with `subject` shows a learner, also on a past day:
 * `subject(args)` is the learner's id, or undefined for the user.
 */
const VIEWS = {
  learner: {
    href: '#/',
    roles: ALL,
    title: ([user]) => user && nameOf('learner', user),
    subject: ([user]) => user,
    open: ([user]) => [Learner, user],
  },
  knowledge: {
    href: '#/knowledge',
    roles: ALL,
    title: ([user]) => (user ? t('expected.whose', { user: nameOf('learner', user) }) : t('view.knowledge')),
    subject: ([user]) => user,
    open: async ([user]) => [(await import('./knowledge.js')).Knowledge, user],
  },
  items: {
    href: '#/items',
    roles: ALL,
    title: ([user]) => (user ? t('items.of', { user: nameOf('learner', user) }) : t('items.title')),
    subject: ([user]) => user,
    open: async ([user], parameters) => [(await import('./item_list.js')).ItemList, user, parameters],
  },
  lists: {
    tab: 'items',
    title: ([user]) => (user ? t('items.listsOf', { user: nameOf('learner', user) }) : t('view.lists')),
    subject: ([user]) => user,
    open: async ([user], parameters) => [(await import('./lists.js')).Lists, user, parameters],
  },
  text: {
    tab: 'items',
    title: () => t('view.text'),
    subject: ([user]) => user,
    open: async ([user]) => [(await import('./text.js')).Text, user, null],
  },
  list: {
    isOfOne: true,
    tab: 'items',
    title: ([id]) => nameOf('list', id),
    subject: ([, user]) => user,
    open: async ([id, user], parameters) => [(await import('./lists.js')).ListPage, id, user, parameters],
  },
  item: {
    isOfOne: true,
    tab: 'items',
    title: ([id]) => nameOf('item', id),
    subject: ([, user]) => user,
    open: async ([id, user], parameters) =>
      [(await import('./item_page.js')).ItemPage, id, user, parameters.get('list')],
  },
  group: {
    href: '#/group',
    roles: ['teacher', 'support', 'admin'],
    title: ([group, item, list], parameters) => [
      parameters.has('text') && t('view.text'),
      list ? nameOf('list', list) : item && nameOf('item', item), group ? nameOf('group', group) : t('view.group'),
    ].filter(Boolean).join(' · '),
    // Without an id, the only group of a teacher, or the list of the groups; for others, the school.
    open: async ([named, item, list], parameters) => {
      const groups = session.role() === 'teacher' ? session.groups() : [];
      const group = named || (groups.length === 1 ? groups[0] : null);
      if (!group && session.role() !== 'teacher') return [(await import('./school.js')).School];
      if (!group) return [(await import('./groups.js')).Groups];
      if (parameters.has('text')) return [(await import('./text.js')).Text, null, group];
      if (list) return [(await import('./group_tasks.js')).Task, group, list];
      if (item) return [(await import('./group_item.js')).GroupItem, group, item];
      return [(await import('./group.js')).Group, group, parameters];
    },
  },
  administration: {
    href: '#/administration',
    roles: ['admin'],
    title: ([account]) => (account ? t('view.account', { account }) : t('view.administration')),
    // With an id, what this account has read.
    open: async ([account], parameters) => (account
      ? [(await import('./account.js')).Account, account]
      : [(await import('./admin.js')).Administration, parameters]),
  },
  glossary: {
    title: () => t('frame.words'),
    open: async () => [(await import('./glossary.js')).Glossary],
  },
  session: {
    isOfOne: true,
    tab: 'learner',
    title: () => t('sessions.one'),
    subject: ([, user]) => user,
    open: async ([id, user]) => [(await import('./study_session.js')).StudySession, id, user],
  },
  streak: {
    tab: 'learner',
    title: () => t('streak.title'),
    subject: ([user]) => user,
    open: async ([user]) => [(await import('./streak_days.js')).StreakDays, user],
  },
  day: {
    isOfOne: true,
    tab: 'learner',
    title: ([day]) => day,
    open: async ([day, user]) => [(await import('./day_events.js')).DayEvents, day, user],
  },
  kept: {
    tab: 'learner',
    title: () => t('data.kept'),
    open: async ([user]) => [(await import('./kept_data.js')).Kept, user],
  },
  find: {
    title: ([text]) => text,
    open: async ([text]) => [(await import('./find.js')).Find, text ?? ''],
  },
  unknown: {
    title: () => t('frame.unknown'),
    open: () => [Unknown],
  },
  events: {
    isOfOne: true,
    tab: 'administration',
    title: ([user]) => nameOf('learner', user),
    open: async ([user], parameters) => [(await import('./events.js')).Events, user, parameters],
  },
};

class Unknown extends View {
  constructor(element, shell) {
    super(element, shell, { data: true });
    this.draw();
  }

  sections() {
    return h('section', { class: 'card wide problem' },
      h('h1', null, t('frame.unknown')), h('a', { class: 'button', href: '#/' }, t('view.learner')));
  }
}

/**
 * Says that a view or its past day could not be loaded. A retry reloads the page, because some browsers do not request
 * a failed module again without a reload. It does so only if the server answers: otherwise, the page would be lost.
 */
class Unloaded extends View {
  constructor(element, error, shell) {
    super(element, shell, { error });
    this.fail(error);
  }

  recall() {}

  async load() {
    if (await isReachable()) location.reload();
    else this.fail(this.error);
  }
}

/** The view that a URL's hash names, for example #/items/USER?filter=leech. */
function findView(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [first, ...args] = path.split('/').map(decode);
  const landing = (!hash && LANDINGS[session.role()]) || 'learner';
  const isKnown = Object.hasOwn(VIEWS, first) && (args[0] || !VIEWS[first].isOfOne);
  const name = !first ? landing : isKnown ? first : 'unknown';
  const view = { tab: name, ...VIEWS[name] };
  const known = first ? args : [];
  const parameters = new URLSearchParams(query);
  const day = view.subject ? then.dayOf(parameters) : null;
  const tag = view.subject ? languageOf(parameters) : null;
  const other = view.subject && (view.subject(known) || null);
  return { ...view, name, args: known, parameters, other, day, tag, group: parameters.get('group') };
}

/** The user's navigation. Teachers and administrators have a learner's views from their first own event on. */
function visibleViews() {
  const role = session.role();
  const studies = !LANDINGS[role] || student === session.learner();
  return Object.entries(VIEWS).map(([name, view]) => ({ name, ...view })).filter((view) =>
    view.roles?.includes(role) && (studies || !view.subject));
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const main = document.getElementById('main');
const navigation = document.getElementById('views');
const liveState = document.getElementById('live');
const status = document.getElementById('status');
const signOut = document.getElementById('sign-out');
const ownName = document.getElementById('own-name');
const languages = document.getElementById('language');
const dayPicker = document.getElementById('day');
const controls = document.getElementById('controls'); // on a phone, they open above the page

const skeleton = main.querySelector('.skeleton').cloneNode(true);
let currentView = null;
let openings = 0; // increases when a view is closed; a view that was loading at that time is not shown
let followsLink = false; // the user has followed a link to a view, other than a link back
let isArriving = false; // the user has followed a link, and the view has not shown its heading yet
let sought = null; // the text for which a learner is being looked for; null once the user has opened another view
let student = null; // the user's id, if somebody who is not only a learner has events of their own
let state = null; // the state of the subscription; null without a subscription
let place = 0; // where the view was scrolled to before the sign-in, until it is there again
let isRejected = false; // the server has rejected the token, and the page has not asked for a new one yet
let isLeaving = false; // the page has asked for a new token
let told = 'live'; // the state that was announced last; the first one is no news

const shell = {
  live(next) {
    state = next;
    showState();
  },
  /** Announce a text to screen readers. Return false if the page is hidden. */
  announce(text) {
    if (document.hidden) return false;
    status.textContent = text;
    return true;
  },
  /** Move the focus to the heading of the view that the user has opened. */
  arrived() {
    if (place) scrollTo(0, place);
    if (scrollY >= place) place = 0;
    const heading = main.querySelector('h1');
    if (!isArriving || !heading) return;
    isArriving = false;
    if (document.activeElement.matches('#main *, #day *')) return; // the user is already using a control
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  },
  named() {
    const view = findView(location.hash);
    showTitle(view);
    showNavigation(view);
  },
  moved() {
    const view = findView(location.hash);
    showNavigation(view);
    showDay(view);
  },
  /** The server has rejected the token; `problem`, if any, says why. */
  signedOut(problem = null) {
    isRejected = isLeaving || session.mayRenew(true);
    if (isRejected) return renew();
    session.keepView();
    const expired = Boolean(session.token());
    showSignIn(t(expired ? 'signIn.ended' : 'signIn.title'), problem?.message);
  },
};

/**
 * Ask for a new token before the user's token ends, while somebody looks at the page, and neither types nor exports.
 * After the server has rejected the token, do not wait for the latter.
 */
function renew() {
  if (isLeaving) return;
  if (!session.mayRenew(isRejected)) return isRejected && shell.signedOut();
  const isBusy = document.querySelector('dialog[open], input:focus, textarea:focus, [data-export=cancel]');
  if (isAway() || !navigator.onLine || (isBusy && !isRejected)) return;
  isLeaving = true;
  setTimeout(() => { isLeaving = false; }, 2 * RENEWAL_MS); // if the page is still shown, the user has stopped it
  location.replace(session.renewalUrl());
}

function showState() {
  const isOffline = !navigator.onLine;
  liveState.hidden = !isOffline && !state;
  const kind = isOffline ? 'offline' : state?.kind || !state ? 'none' : state;
  liveState.className = `line ${kind}`;
  const text = t(`live.${kind}`);
  if (liveState.textContent !== text) liveState.replaceChildren(h('span', null, text));
  if (!liveState.hidden && kind !== 'waiting' && kind !== told && shell.announce(text)) told = kind;
}

function showSignIn(title, reason = null) {
  closeView();
  session.endToken(); // with the list that the view has left
  forget();
  forgetNames();
  isRejected = false;
  document.title = 'Progress'; // nothing of the view that it hides
  const url = session.signInUrl();
  main.setAttribute('aria-busy', 'false');
  main.replaceChildren(h('section', { class: 'card wide problem' },
    h('h1', null, title),
    url
      ? [h('p', null, t('signIn.here')), h('a', { class: 'button', href: url }, t('signIn.title'))]
      : h('p', null, t('signIn.inApp')),
    session.takesTokens() && tokenForm(reason)));
}

/** A form for a token. `reason` says why the server has rejected the last one. */
function tokenForm(reason) {
  const attributes = { required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' };
  const form = h('form', { class: 'token' },
    h('label', { for: 'token' }, t('signIn.withToken')),
    h('input', { id: 'token', name: 'token', ...attributes }),
    h('button', { class: 'button quiet' }, t('signIn.takeToken')),
    reason && h('p', { class: 'note', role: 'alert', lang: 'en' }, reason));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (session.signInWith(new FormData(form).get('token').trim())) route();
  });
  return form;
}

function closeView() {
  openings += 1;
  leaveArriving();
  currentView?.close();
  currentView = sought = null;
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  shell.live(null);
  for (const element of [navigation, ownName, signOut, dayPicker]) element.hidden = true;
}

async function route() {
  const url = session.takeHint() && session.signInUrl();
  if (url) return location.replace(url);
  const isOurs = session.takeToken();
  if (!session.token()) {
    session.keepView();
    return showSignIn(t(isOurs ? 'signIn.title' : 'signIn.foreign'));
  }
  place = session.takeView();
  const view = findView(location.hash);
  const isReturn = !followsLink;
  followsLink = false;
  if (currentView) main.replaceChildren(skeleton.cloneNode(true));
  closeView();
  if (!isReturn) scrollTo(0, 0); // otherwise, the browser restores the position
  shell.isReturn = isReturn;
  speakOf(view.other);
  chooseLanguage(view.tag);
  chooseGroup(view.other && view.group);
  signOut.hidden = false;
  showNavigation(view);
  showDay(view);
  showTitle(view);
  learnWhetherStudies();
  await arriving(open(view));
}

async function learnWhetherStudies() {
  const user = session.learner();
  if (student === user || !LANDINGS[session.role()]) return;
  const { data } = await runQuery('query Own { own: userProgress { lastUpdated } }').catch(() => ({ data: {} }));
  if (!data.own || session.learner() !== user) return;
  student = user;
  shell.moved();
}

function showTitle(view) {
  document.title = [view.title(view.args, view.parameters), 'Progress'].filter(Boolean).join(' · ');
}

/** Load the view. Draw it, unless the user has left it in the meantime. */
async function open(view) {
  const opening = openings;
  setTimeout(() => opening === openings && sayWaiting(), SLOW_MS);
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Problem('away', 'a module has not arrived')), MODULE_TIMEOUT_MS);
  });
  const create = await Promise.race([late, Promise.all([
    view.open([...view.args, '', ''].map((arg) => arg || null), view.parameters), then.select(view.other, view.day),
    ...(view.name !== 'learner' || view.group ? [loadTexts(), loadStyles()] : []),
    showWay(view),
  ])]).then(
    ([[Shown, ...args]]) => () => new Shown(main, ...args, shell), (error) => () => new Unloaded(main, error, shell));
  if (opening !== openings) return;
  currentView = create();
  if (view.subject && currentView) currentView.naming = Promise.all([currentView.naming, watchMidnight(view, opening)]);
}

async function loadStyles() {
  if (document.querySelector('link[href$="views.css"]')) return;
  const link = h('link', { rel: 'stylesheet', href: new URL('views.css', import.meta.url) });
  document.head.append(link);
  await new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = () => {
      link.remove(); // so that the next view asks again
      reject(new Error('Load failed: views.css'));
    };
  });
}

async function showWay({ other, group, name, args }) {
  const opening = openings;
  shell.way = null;
  if (!other || !group) return;
  const { openWay } = await import('./member_links.js');
  const way = await openWay(group, other, name === 'item' ? args[0] : null);
  if (opening !== openings) return;
  shell.way = way;
  shell.named();
}

async function watchMidnight(view, opening, before = null) {
  // The view itself reports a server that does not answer.
  const who = await then.learnToday(view.other).catch(() => {});
  if (opening !== openings) return;
  showDay(view);
  const user = view.other ?? session.learner();
  if (who?.displayName && nameOf('learner', user) !== who.displayName) {
    learnName('learner', user, who.displayName);
    shell.named();
    if (view.other && currentView.data) currentView.draw();
  }
  if (before && then.presentDay() !== before && !then.pastDay()) currentView.load?.();
  const wait = Math.max(then.untilTomorrow() ?? DAY_RETRY_MS, MIDNIGHT_MS);
  setTimeout(() => opening === openings && watchMidnight(view, opening, then.presentDay() ?? before), wait);
}

/** Say that the server has not answered yet, in a pill above the page, so that nothing moves. */
function sayWaiting() {
  if (!main.querySelector('.skeleton')) return;
  main.prepend(h('div', { class: 'pills', role: 'status' }, mark('wait', t('problem.slow'))));
}

function showDay({ subject, day }) {
  dayPicker.hidden = !subject;
  const input = dayPicker.querySelector('input');
  input.max = then.presentDay() ?? '';
  input.value = day ?? '';
}

/** Show the navigation. Another learner whom the view shows has a tab. The tag is the items' language. */
function showNavigation({ tab, other, day, tag }) {
  const own = nameOf('learner', session.learner());
  Object.assign(ownName, { hidden: own === session.learner(), textContent: own });
  navigation.hidden = false;
  speakOf(null); // the tabs are those of the user's own items
  const link = (href, name, isCurrent, more) =>
    h('a', { href, 'aria-current': isCurrent ? 'page' : null, ...more }, name);
  show(navigation,
    visibleViews().map(({ name, href, subject }) =>
      link(
        subject ? inLanguage(other ? null : tag, then.on(day, href)) : href, t(`view.${name}`),
        name === tab && !other)),
    other && link(
      inLanguage(tag, then.on(day, inGroup(`#/learner/${encodeURIComponent(other)}`))), nameOf('learner', other), true,
      { translate: 'no' }),
    session.isStaff() && searchForm());
  speakOf(other);
}

function searchForm() {
  const attributes = { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 200 };
  return h('form', { class: 'finder', role: 'search' },
    h('label', { for: 'other' }, t('frame.learnerId')),
    h('input', { id: 'other', name: 'other', list: 'found', ...attributes }),
    h('datalist', { id: 'found' }),
    h('button', { class: 'button quiet' }, t('frame.show')));
}

navigation.addEventListener('input', ({ target }) => {
  import('./find.js').then(({ suggest }) => suggest(target), () => {});
});
navigation.addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = new FormData(event.target).get('other').trim();
  sought = text;
  const { addressOf } = await import('./find.js').catch(() => ({})); // offline, it may not arrive
  const address = await addressOf?.(text) ?? `#/learner/${encodeURIComponent(text)}`;
  if (sought === text) location.hash = address;
});
dayPicker.addEventListener('change', ({ target }) => {
  if (target.validity.valid) location.hash = then.on(target.value, location.hash || '#/');
});
signOut.addEventListener('click', () => {
  session.signOut();
  history.replaceState(null, '', location.pathname);
  showSignIn(t('signIn.signedOut'));
  main.focus();
});
languages.value = language.slice(0, 2);
// Each arrow key changes a closed list. Such a choice counts once it is entered or left, and the focus returns to it.
let isTyping = false;
const choose = () => {
  if (languages.value !== language.slice(0, 2)) selectLanguage(languages.value);
};
languages.addEventListener('pointerdown', () => { isTyping = false; });
languages.addEventListener('keydown', ({ key }) => {
  isTyping = key !== ' '; // which opens the list
  if (key === 'Enter') choose();
});
languages.addEventListener('change', () => isTyping || choose());
languages.addEventListener('blur', choose);
if (history.state === 'language') {
  history.replaceState(null, '');
  languages.focus();
}
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
/** A tap on a column shows its value, because a touch screen shows no title. */
addEventListener('click', ({ target }) => {
  const column = target.closest('.bars g');
  if (!column) return;
  const plot = column.closest('.plot');
  plot.querySelector('[data-tapped]')?.removeAttribute('data-tapped');
  column.setAttribute('data-tapped', '');
  showTapped(plot);
});
addEventListener('click', ({ target }) => {
  if (target.closest('a[href^="#/"]:not(.back)')) followsLink = true;
});
for (const event of ['online', 'offline']) addEventListener(event, showState);
for (const input of ['pointerdown', 'keydown', 'wheel']) {
  addEventListener(input, () => { place = 0; }, { passive: true });
}
onPresence(renew);
setInterval(renew, RENEWAL_MS);
addEventListener('renamed', () => shell.named());
addEventListener('hashchange', async ({ oldURL }) => {
  currentView?.keep?.(new URL(oldURL).hash);
  controls.hidePopover?.();
  isArriving = true;
  await route();
  const opening = openings;
  await currentView?.naming; // the title has the name, if there is one
  if (currentView && opening === openings) shell.announce(document.title);
});
route();
