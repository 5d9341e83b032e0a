// The session. It keeps the token from the issuer until this tab is closed.

const TOKEN = 'progress.token';
export const LEFT = 'progress.left'; // the list that the user left last
const STATE = 'progress.state'; // state of the sign-in that this tab has started
const HINT = 'progress.hint'; // the login hint with which an app has opened the page, perhaps empty
const SINCE = 'progress.since'; // when the token came
const ASKED = 'progress.asked'; // when the token ends that the page has asked to renew
export const PACE = 'progress.pace'; // the words a day with which levels and lists count
const VIEW = 'progress.view'; // the view that was left for the sign-in

const OWN = /^(progress\.|scale:|exam-day:)/; // the names of all that the page stores

const EARLY_S = 60; // a token is renewed so long before it ends, or at half of a shorter life

/** Move a token from the URL to the session. Return false if this tab did not start the sign-in. */
export function takeToken() {
  const token = fromHash('token');
  if (!token) return true;
  const state = new URLSearchParams(location.search).get('state');
  history.replaceState(null, '', location.pathname);
  if (!state || state !== read(STATE)) return false;
  store(STATE, null);
  store(TOKEN, token);
  store(SINCE, Date.now() / 1000);
  return true;
}

/** Move a login hint from the URL to the session. Return whether there was one: then, the caller opens the sign-in. */
export function takeHint() {
  const hint = fromHash('sign-in');
  if (hint === null) return false;
  history.replaceState(null, '', location.pathname);
  return store(HINT, hint) && store(VIEW, null);
}

export const keepView = () => store(VIEW, JSON.stringify({ hash: location.hash, place: Math.floor(scrollY) }));

/** Show the kept view again, unless the URL names another one. Return its scroll position. */
export function takeView() {
  const { hash = '', place } = JSON.parse(read(VIEW)) ?? {};
  store(VIEW, null);
  if (hash && !location.hash) history.replaceState(null, '', location.pathname + hash);
  return location.hash === hash && place || 0;
}

/**
 * Whether it is time to ask for a new token without a click. Only a page that an app has opened asks, and once for each
 * token. How long the token is here bounds how often it asks if a clock is wrong, or if new tokens are rejected.
 */
export function mayRenew(isRejected) {
  const { exp, iat } = claims();
  const now = Date.now() / 1000;
  const since = Number(read(SINCE));
  const life = iat ? exp - iat : Math.max(exp - since, 2 * EARLY_S);
  const early = Math.min(EARLY_S, life / 2);
  const isTime = isRejected ? now >= since + early : now >= Math.max(exp - early, since + life / 2);
  return isTime && read(HINT) !== null && exp > Number(read(ASKED)) && Boolean(meta('sign-in'));
}

/** Keep the view, and note that the token has been asked to be renewed. Return the URL that renews it. */
export function renewalUrl() {
  keepView();
  store(ASKED, claims().exp);
  return signInUrl();
}

/** Whether the page takes a token that the user pastes. Only a page in development does. */
export const takesTokens = () => meta('environment') === 'development';

export const signInWith = (token) => store(TOKEN, token);

export const token = () => read(TOKEN);

/** Forget a token that has ended; what leads back to the view is kept. */
export const endToken = () => store(TOKEN, null) && store(LEFT, null);

/** Forget everything of the person: others may use this browser, too. */
export function signOut() {
  for (const storage of ['sessionStorage', 'localStorage'])
    for (const name of names(storage)) if (OWN.test(name)) store(name, null, storage);
}

/** The token's role decides what is shown; the server decides what is allowed. */
export function role() {
  const roles = [claims().roles ?? []].flat();
  return ['admin', 'support', 'teacher'].find((role) => roles.includes(role)) ?? 'learner';
}

/** Whether the account is of support or an administrator. */
export const isStaff = () => ['support', 'admin'].includes(role());

export const groups = () => [claims().groups ?? []].flat();

export const learner = () => claims().sub ?? '';

function claims() {
  try {
    const part = token().split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

/** The URL of the issuer's sign-in page, which leads back to this page; null without one, or if storage is blocked. */
export function signInUrl() {
  const address = meta('sign-in');
  if (!address || !(read(STATE) || store(STATE, random()))) return null;
  const returnUrl = new URL(location.pathname, location.origin);
  returnUrl.searchParams.set('state', read(STATE));
  const url = new URL(address);
  url.searchParams.set('return', returnUrl.href);
  if (read(HINT)) url.searchParams.set('login_hint', read(HINT));
  return url.href;
}

const meta = (name) => document.querySelector(`meta[name=${name}]`).content;

const fromHash = (name) => new URLSearchParams(location.hash.slice(1)).get(name);

const random = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function names(storage) {
  try {
    return Object.keys(window[storage]);
  } catch {
    return []; // the browser blocks storage
  }
}

export function read(name, storage = 'sessionStorage') {
  try {
    return window[storage].getItem(name);
  } catch {
    return null; // the browser blocks storage
  }
}

/** Store a text, by default until the tab is closed; null removes it. Return false if the browser blocks it. */
export function store(name, text, storage = 'sessionStorage') {
  try {
    if (text === null) window[storage].removeItem(name);
    else window[storage].setItem(name, text);
    return true;
  } catch {
    return false;
  }
}
