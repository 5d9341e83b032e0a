// Who is signed in: the issuer's token, kept for as long as this tab is open.

const KEY = 'progress.token';
let held = null; // for where a browser keeps nothing

/** Take a token out of the address, where the issuer's sign-in has put it. */
export function take() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return false;
  history.replaceState(null, '', location.pathname + location.search);
  held = given;
  try {
    sessionStorage.setItem(KEY, given);
  } catch {
    // It is held as long as the page is.
  }
  return true;
}

export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? held;
  } catch {
    return held;
  }
}

export function forget() {
  held = null;
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept.
  }
}

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

/** The issuer's sign-in, which comes back here; null where there is none to go to. */
export function signIn() {
  const address = document.querySelector('meta[name=sign-in]').content;
  if (!address) return null;
  const there = new URL(address);
  there.searchParams.set('return', location.origin + location.pathname);
  return there.href;
}
