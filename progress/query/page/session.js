// Who is signed in: the issuer's token, kept for as long as this tab is open.

const TOKEN = 'progress.token';
const STATE = 'progress.state'; // of the sign-in that this tab has begun

/** Take a token out of the address. A link that this tab did not ask for signs nobody in: false. */
export function take() {
  const given = fromHash('token');
  if (!given) return true;
  const state = new URLSearchParams(location.search).get('state');
  history.replaceState(null, '', location.pathname);
  if (!state || state !== read(STATE)) return false;
  keep(STATE, null);
  keep(TOKEN, given);
  return true;
}

/** Whom to sign in, in an address that leads to the sign-in at once; null in any other. */
export function takeHint() {
  const hint = fromHash('sign-in');
  if (hint) history.replaceState(null, '', location.pathname);
  return hint;
}

export const token = () => read(TOKEN);

export const forget = () => keep(TOKEN, null);

/** The role that the token tells: for what to show. What may be done, the server decides. */
export function role() {
  const roles = [claims().roles ?? []].flat();
  return ['admin', 'support'].find((each) => roles.includes(each)) ?? 'learner';
}

export const learner = () => claims().sub ?? '';

function claims() {
  try {
    const part = token().split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

/** The issuer's sign-in, which comes back here; null where there is none, or nothing can be kept. */
export function signIn(hint = null) {
  const address = document.querySelector('meta[name=sign-in]').content;
  if (!address || !(read(STATE) || keep(STATE, random()))) return null;
  const back = new URL(location.pathname, location.origin);
  back.searchParams.set('state', read(STATE));
  const there = new URL(address);
  there.searchParams.set('return', back.href);
  if (hint) there.searchParams.set('login_hint', hint);
  return there.href;
}

const fromHash = (name) => new URLSearchParams(location.hash.slice(1)).get(name);

const random = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function read(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null; // this browser keeps nothing
  }
}

/** Keep a text as long as the tab is open, or remove it; false where the browser keeps nothing. */
function keep(name, text) {
  try {
    if (text === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, text);
    return true;
  } catch {
    return false;
  }
}
