// Signs a learner in, and leads back to the learner's page with the token (docs/settings.md, "Sign-in").
// The learner's page opens this page as ?return=PAGE; an OpenID Connect issuer, as ?code=CODE&state=STATE.

import { FIREBASE, OIDC, PAGES } from './config.js';

const SDK = 'https://www.gstatic.com/firebasejs/12.12.1/';
const kept = sessionStorage; // of this tab: `return`, and the state and the verifier of a sign-in at the issuer
const parameters = new URLSearchParams(location.search);
const here = location.origin + location.pathname; // what the issuer knows as the redirect URI

/** Lead back to the learner's page. Nobody else gets the token. */
function finish(token) {
  const page = kept.getItem('return');
  kept.clear();
  location.replace(`${page}#token=${token}`);
}

/** Remember the page to which the token goes, if it is one of ours; otherwise, a link could send it anywhere. */
function rememberReturn(page) {
  const { origin, pathname } = new URL(page);
  if (!PAGES.includes(origin + pathname)) throw new Error(`${origin}${pathname} is not in PAGES`);
  kept.setItem('return', page);
}

async function offerFirebase() {
  const [{ initializeApp }, { getAuth, GoogleAuthProvider, signInWithPopup }] = await Promise.all(
    ['firebase-app.js', 'firebase-auth.js'].map((file) => import(SDK + file)));
  const auth = getAuth(initializeApp(FIREBASE));
  const button = document.querySelector('button');
  button.hidden = false;
  button.addEventListener('click', () => say(async () => {
    const { user } = await signInWithPopup(auth, new GoogleAuthProvider());
    finish(await user.getIdToken());
  }));
}

/** Begin the authorization code flow with PKCE. The issuer redirects to this page with a code. */
async function openIssuer() {
  const verifier = random();
  const state = random();
  kept.setItem('verifier', verifier);
  kept.setItem('state', state);
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier));
  const url = new URL((await describeIssuer()).authorization_endpoint);
  const asked = {
    response_type: 'code',
    client_id: OIDC.client,
    redirect_uri: here,
    scope: 'openid',
    state,
    code_challenge: encode(new Uint8Array(digest)),
    code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
  const hint = parameters.get('login_hint');
  if (hint) url.searchParams.set('login_hint', hint);
  location.replace(url);
}

/** Exchange the code for a token; only the tab that began the sign-in has its state and its verifier. */
async function exchangeCode() {
  const state = kept.getItem('state');
  if (!state || parameters.get('state') !== state) throw new Error('this tab did not begin the sign-in');
  const response = await fetch((await describeIssuer()).token_endpoint, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code: parameters.get('code'),
      redirect_uri: here,
      client_id: OIDC.client,
      code_verifier: kept.getItem('verifier'),
    }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error_description ?? answer.error);
  finish(answer.id_token);
}

async function describeIssuer() {
  return (await fetch(`${OIDC.issuer}/.well-known/openid-configuration`)).json();
}

const random = () => encode(crypto.getRandomValues(new Uint8Array(32)));

const encode = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** Run a step of the sign-in; show why it failed. */
async function say(step) {
  try {
    await step();
  } catch (error) {
    document.querySelector('[role=status]').textContent = `You are not signed in: ${error.message}`;
  }
}

say(async () => {
  if (parameters.has('error')) throw new Error(parameters.get('error_description') ?? parameters.get('error'));
  if (parameters.has('code')) return exchangeCode();
  if (!parameters.has('return')) throw new Error('open this page from the learner’s page');
  rememberReturn(parameters.get('return'));
  return FIREBASE ? offerFirebase() : openIssuer();
});
