// The page: who is signed in, what they look at, and where that is drawn.

import { h, show } from './dom.js';
import { Learner } from './learner.js';
import * as session from './session.js';

const main = document.getElementById('main');
const views = document.getElementById('views');
const line = document.getElementById('live');
const said = document.getElementById('said');
const out = document.getElementById('sign-out');

const LINES = { live: ['on', 'Live'], waiting: ['off', 'Connecting'] };
const skeleton = main.querySelector('.skeleton').cloneNode(true);
let shown = null;

const shell = {
  /** What has become of the subscription. */
  live(state) {
    line.hidden = false;
    const [look, text] = LINES[state] ?? ['off', 'Not live'];
    line.className = `line ${look}`;
    if (line.textContent !== text) line.textContent = text;
  },
  /** Say it to those who listen; false if it is not heard now. */
  say(text) {
    if (document.hidden) return false;
    said.textContent = text;
    return true;
  },
  signedOut() {
    const expired = Boolean(session.token());
    session.forget();
    signIn(expired ? 'Your sign-in has ended' : 'Sign in');
  },
};

function signIn(title) {
  leave();
  const there = session.signIn();
  main.setAttribute('aria-busy', 'false');
  main.replaceChildren(h('section', { class: 'card wide problem' },
    h('h1', null, title),
    there
      ? [h('p', null, 'To see your progress, sign in where you learn.'),
        h('a', { class: 'button', href: there }, 'Sign in')]
      : h('p', null, 'Open this page from where you learn: you will be signed in there.')));
}

function leave() {
  shown?.close();
  shown = null;
  for (const each of [views, line, out]) each.hidden = true;
}

/** What the address leads to: a learner's progress, one's own if it names nobody, or the administration. */
function destination() {
  const [, view, name] = /^#\/(learner|administration)\/?(.*)$/.exec(location.hash) ?? [];
  if (view === 'administration') return { view, title: 'Administration · Progress' };
  const user = name ? decoded(name) : null;
  return { view: 'learner', user, title: user ? `${user} · Progress` : 'Progress' };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function route() {
  const hint = session.takeHint();
  const there = hint && session.signIn(hint);
  if (there) return location.replace(there);
  const isOurs = session.take();
  if (!session.token()) return signIn(isOurs ? 'Sign in' : 'This link signs nobody in');
  const { view, user, title } = destination();
  if (shown) main.replaceChildren(skeleton.cloneNode(true));
  leave();
  out.hidden = false;
  navigate(view);
  document.title = title;
  const at = location.hash;
  const make = view === 'learner' ? () => new Learner(main, user, shell) : await administration();
  if (at === location.hash) shown = make();
}

async function administration() {
  const { Administration } = await import('./admin.js');
  return () => new Administration(main, shell);
}

/** The ways between the views, for those who have more than one. */
function navigate(current) {
  const role = session.role();
  views.hidden = role === 'learner';
  if (views.hidden) return;
  const link = (name, view, href) =>
    h('a', { href, 'aria-current': view === current ? 'page' : null }, name);
  show(views, link('My progress', 'learner', '#/'),
    role === 'admin' && link('Administration', 'administration', '#/administration'),
    finder());
}

function finder() {
  const plain = { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 200 };
  return h('form', { class: 'finder', role: 'search' },
    h('label', { class: 'unseen', for: 'other' }, 'A learner’s id'),
    h('input', { id: 'other', name: 'other', placeholder: 'A learner’s id', ...plain }),
    h('button', { class: 'button quiet' }, 'Show'));
}

views.addEventListener('submit', (event) => {
  event.preventDefault();
  const id = new FormData(event.target).get('other').trim();
  location.hash = id ? `#/learner/${encodeURIComponent(id)}` : '#/';
});
out.addEventListener('click', () => {
  session.forget();
  history.replaceState(null, '', location.pathname);
  signIn('You are signed out');
  main.focus();
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', async () => {
  await route();
  if (shown) shell.say(document.title);
});
route();
