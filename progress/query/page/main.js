// The entry point: signs in, selects the view from the URL, and draws it.

import { h, show } from './dom.js';
import { Learner } from './learner.js';
import * as session from './session.js';

const main = document.getElementById('main');
const views = document.getElementById('views');
const liveState = document.getElementById('live');
const status = document.getElementById('status');
const signOut = document.getElementById('sign-out');

const LIVE_STATES = { live: ['on', 'Live'], waiting: ['off', 'Connecting'] };
const skeleton = main.querySelector('.skeleton').cloneNode(true);
let currentView = null;

const shell = {
  /** Show the state of the subscription. */
  live(state) {
    liveState.hidden = false;
    const [style, text] = LIVE_STATES[state] ?? ['off', 'Not live'];
    liveState.className = `line ${style}`;
    if (liveState.textContent !== text) liveState.textContent = text;
  },
  /** Announce a text to screen readers. Return false if the page is hidden. */
  announce(text) {
    if (document.hidden) return false;
    status.textContent = text;
    return true;
  },
  signedOut() {
    const expired = Boolean(session.token());
    session.signOut();
    showSignIn(expired ? 'Your sign-in has ended' : 'Sign in');
  },
};

function showSignIn(title) {
  closeView();
  const url = session.signInUrl();
  main.setAttribute('aria-busy', 'false');
  main.replaceChildren(h('section', { class: 'card wide problem' },
    h('h1', null, title),
    url
      ? [h('p', null, 'To see your progress, sign in to the app in which you learn.'),
        h('a', { class: 'button', href: url }, 'Sign in')]
      : h('p', null, 'Open this page from the app in which you learn. The app signs you in.')));
}

function closeView() {
  currentView?.close();
  currentView = null;
  for (const element of [views, liveState, signOut]) element.hidden = true;
}

/** Return the view of the URL: a learner's progress (by default the user's own), or the administration. */
function parseHash() {
  const [, view, name] = /^#\/(learner|administration)\/?(.*)$/.exec(location.hash) ?? [];
  if (view === 'administration') return { view, title: 'Administration · Progress' };
  const user = name ? decode(name) : null;
  return { view: 'learner', user, title: user ? `${user} · Progress` : 'Progress' };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function route() {
  const hint = session.takeHint();
  const url = hint && session.signInUrl(hint);
  if (url) return location.replace(url);
  const isOurs = session.takeToken();
  if (!session.token()) return showSignIn(isOurs ? 'Sign in' : 'This link signs nobody in');
  const { view, user, title } = parseHash();
  if (currentView) main.replaceChildren(skeleton.cloneNode(true));
  closeView();
  signOut.hidden = false;
  showNavigation(view);
  document.title = title;
  const hash = location.hash;
  const create = view === 'learner' ? () => new Learner(main, user, shell) : await loadAdministration();
  if (hash === location.hash) currentView = create();
}

async function loadAdministration() {
  const { Administration } = await import('./admin.js');
  return () => new Administration(main, shell);
}

/** Show the navigation to those who may see more than one view. */
function showNavigation(current) {
  const role = session.role();
  views.hidden = role === 'learner';
  if (views.hidden) return;
  const link = (name, view, href) =>
    h('a', { href, 'aria-current': view === current ? 'page' : null }, name);
  show(views, link('My progress', 'learner', '#/'),
    role === 'admin' && link('Administration', 'administration', '#/administration'),
    searchForm());
}

function searchForm() {
  const attributes = { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 200 };
  return h('form', { class: 'finder', role: 'search' },
    h('label', { class: 'unseen', for: 'other' }, 'A learner’s id'),
    h('input', { id: 'other', name: 'other', placeholder: 'A learner’s id', ...attributes }),
    h('button', { class: 'button quiet' }, 'Show'));
}

views.addEventListener('submit', (event) => {
  event.preventDefault();
  const id = new FormData(event.target).get('other').trim();
  location.hash = id ? `#/learner/${encodeURIComponent(id)}` : '#/';
});
signOut.addEventListener('click', () => {
  session.signOut();
  history.replaceState(null, '', location.pathname);
  showSignIn('You are signed out');
  main.focus();
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', async () => {
  await route();
  if (currentView) shell.announce(document.title);
});
route();
