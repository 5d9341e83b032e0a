// The session. It keeps the token from the issuer until this tab is closed.

const TOKEN = 'progress.token';
export const LEFT = 'progress.left'; // the list that the user left last
const STATE = 'progress.state'; // state of the sign-in that this tab has started

/** Move a token from the URL to the session. Return false if this tab did not start the sign-in. */
export function takeToken() {
  const token = fromHash('token');
  if (!token) return true;
  const state = new URLSearchParams(location.search).get('state');
  history.replaceState(null, '', location.pathname);
  if (!state || state !== read(STATE)) return false;
  store(STATE, null);
  store(TOKEN, token);
  return true;
}

/** Remove the login hint from the URL. Return the hint, or null. If there is a hint, the caller opens the sign-in. */
export function takeHint() {
  const hint = fromHash('sign-in');
  if (hint) history.replaceState(null, '', location.pathname);
  return hint;
}

/** Whether the page takes a token that the user pastes. Only a page in development does. */
export const takesTokens = () => meta('environment') === 'development';

/** Keep a token that the user has pasted. Return false if the browser blocks storage. */
export const signInWith = (token) => store(TOKEN, token);

export const token = () => read(TOKEN);

export const signOut = () => store(TOKEN, null) && store(LEFT, null);

/** The token's role decides what is shown; the server decides what is allowed. */
export function role() {
  const roles = [claims().roles ?? []].flat();
  return ['admin', 'support', 'teacher'].find((role) => roles.includes(role)) ?? 'learner';
}

/** The groups that a teacher's token names. */
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

/**
 * The URL of the issuer's sign-in page, which leads back to this page after the sign-in. Null if no sign-in page is
 * configured, or if the browser blocks storage.
 */
export function signInUrl(hint = null) {
  const address = meta('sign-in');
  if (!address || !(read(STATE) || store(STATE, random()))) return null;
  const returnUrl = new URL(location.pathname, location.origin);
  returnUrl.searchParams.set('state', read(STATE));
  const url = new URL(address);
  url.searchParams.set('return', returnUrl.href);
  if (hint) url.searchParams.set('login_hint', hint);
  return url.href;
}

const meta = (name) => document.querySelector(`meta[name=${name}]`).content;

const fromHash = (name) => new URLSearchParams(location.hash.slice(1)).get(name);

const random = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export function read(name, storage = 'sessionStorage') {
  try {
    return window[storage].getItem(name);
  } catch {
    return null; // the browser blocks storage
  }
}

/**
 * Store a text, until the tab is closed unless `storage` is another one; null removes it. Return false if the browser
 * blocks it.
 */
export function store(name, text, storage = 'sessionStorage') {
  try {
    if (text === null) window[storage].removeItem(name);
    else window[storage].setItem(name, text);
    return true;
  } catch {
    return false;
  }
}
