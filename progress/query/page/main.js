// The entry point. It signs the user in, and shows the view that the URL names.

import { Problem } from './api.js';
import { h, show } from './dom.js';
import { language, selectLanguage, t } from './i18n.js';
import { Retry, problemCard } from './problems.js';
import * as session from './session.js';
import * as views from './views.js';

const main = document.getElementById('main');
const navigation = document.getElementById('views');
const liveState = document.getElementById('live');
const status = document.getElementById('status');
const signOut = document.getElementById('sign-out');
const languages = document.getElementById('language');

const skeleton = main.querySelector('.skeleton').cloneNode(true);
let currentView = null;
let openings = 0; // increases when a view is closed; a view that was loading at that time is not shown
let state = null; // the state of the subscription; null without a subscription

const shell = {
  /** Show the state of the subscription. */
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
  signedOut() {
    const expired = Boolean(session.token());
    session.signOut();
    showSignIn(t(expired ? 'signIn.ended' : 'signIn.title'));
  },
};

/** Show that the browser is offline or, if it is online, the state of the subscription. */
function showState() {
  const isOffline = !navigator.onLine;
  liveState.hidden = !isOffline && !state;
  const kinds = { live: 'on', waiting: 'off' };
  const kind = isOffline ? 'offline' : kinds[state] ?? 'none';
  liveState.className = `line ${kind}`;
  const text = t(`live.${kind}`);
  if (liveState.textContent !== text) liveState.replaceChildren(h('span', null, text));
}

function showSignIn(title) {
  closeView();
  const url = session.signInUrl();
  main.setAttribute('aria-busy', 'false');
  main.replaceChildren(h('section', { class: 'card wide problem' },
    h('h1', null, title),
    url
      ? [h('p', null, t('signIn.here')), h('a', { class: 'button', href: url }, t('signIn.title'))]
      : h('p', null, t('signIn.inApp'))));
}

function closeView() {
  openings += 1;
  currentView?.close();
  currentView = null;
  shell.live(null);
  for (const element of [navigation, signOut]) element.hidden = true;
}

async function route() {
  const hint = session.takeHint();
  const url = hint && session.signInUrl(hint);
  if (url) return location.replace(url);
  const isOurs = session.takeToken();
  if (!session.token()) return showSignIn(t(isOurs ? 'signIn.title' : 'signIn.foreign'));
  const view = views.find(location.hash);
  if (currentView) main.replaceChildren(skeleton.cloneNode(true));
  closeView();
  signOut.hidden = false;
  showNavigation(view);
  document.title = [view.title(view.args), 'Progress'].filter(Boolean).join(' · ');
  await open(view);
}

/** Load the view. Draw it, unless the user has left it in the meantime. */
async function open(view) {
  const opening = openings;
  const create = await view.open(main, view.args, shell, view.parameters)
    .catch((error) => () => showLoadProblem(error));
  if (opening === openings) currentView = create();
}

/**
 * Say that the view could not be loaded. A retry reloads the page. Without a reload, some browsers do not request a
 * failed module again.
 */
function showLoadProblem(error) {
  const problem = new Problem(navigator.onLine ? 'unloaded' : 'offline', error.message);
  const retry = new Retry(() => location.reload());
  retry.schedule(problem);
  main.setAttribute('aria-busy', 'false');
  show(main, problemCard(problem, retry, false));
  return { close: () => retry.stop() };
}

/** Show the navigation. If the view shows another learner, add a tab for that learner. */
function showNavigation({ tab, other }) {
  const canFind = ['support', 'admin'].includes(session.role());
  navigation.hidden = false;
  const link = (href, name, isCurrent, more) =>
    h('a', { href, 'aria-current': isCurrent ? 'page' : null, ...more }, name);
  show(navigation,
    views.visible().map(({ name, href }) => link(href, t(`view.${name}`), name === tab && !other)),
    other && link(`#/learner/${encodeURIComponent(other)}`, other, true, { translate: 'no' }),
    canFind && searchForm());
}

function searchForm() {
  const attributes = { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 200 };
  return h('form', { class: 'finder', role: 'search' },
    h('label', { class: 'unseen', for: 'other' }, t('frame.learnerId')),
    h('input', { id: 'other', name: 'other', placeholder: t('frame.learnerId'), ...attributes }),
    h('button', { class: 'button quiet' }, t('frame.show')));
}

navigation.addEventListener('submit', (event) => {
  event.preventDefault();
  const id = new FormData(event.target).get('other').trim();
  location.hash = id ? `#/learner/${encodeURIComponent(id)}` : '#/';
});
signOut.addEventListener('click', () => {
  session.signOut();
  history.replaceState(null, '', location.pathname);
  showSignIn(t('signIn.signedOut'));
  main.focus();
});
languages.value = language.slice(0, 2);
languages.addEventListener('change', () => selectLanguage(languages.value));
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
for (const event of ['online', 'offline']) addEventListener(event, showState);
addEventListener('hashchange', async () => {
  await route();
  if (currentView) shell.announce(document.title);
});
route();
