// Requests to the API, and the problems that can make them fail.

import { arriving } from './loads.js';
import * as session from './signed_in.js';

const TIMEOUT_MS = 12_000; // the server answers within ten seconds
const MAX_ALIASES = 30; // the API's limit of a request

/** The reason for a failed request. `kind` selects what to show; `after` is the seconds to wait, if known. */
export class Problem extends Error {
  constructor(kind, message, { after = null, trace = null, code = null } = {}) {
    super(message);
    Object.assign(this, { kind, after, trace, code });
  }

  get isAway() {
    return ['offline', 'away'].includes(this.kind);
  }
}

const KINDS = {
  UNAUTHENTICATED: 'signed-out',
  FORBIDDEN: 'forbidden',
  RATE_LIMITED: 'busy',
  UNAVAILABLE: 'away',
  BAD_USER_INPUT: 'refused',
  NOT_FOUND: 'refused',
  QUERY_TOO_COMPLEX: 'refused',
};

/** Run a query. Return its data and extensions, or throw a Problem if there is any error. */
export const runQuery = (query, variables, signal) => arriving(request(query, variables, signal));

async function request(query, variables, signal) {
  return readAnswer(await post('graphql', 'application/json', { query, variables }, TIMEOUT_MS, signal));
}

/** Run a query by GET, so that the browser keeps the answer with its ETag, and only asks whether it has changed. */
export function getQuery(query, variables, signal) {
  const parameters = new URLSearchParams({ query, variables: JSON.stringify(variables) });
  const headers = { Accept: 'application/json' };
  return arriving(send(`graphql?${parameters}`, { headers }, TIMEOUT_MS, signal).then(readAnswer));
}

async function readAnswer(response) {
  const answer = await response.json().catch(() => null);
  const problem = problemOf(response, answer);
  if (problem) throw problem;
  return answer;
}

/**
 * Ask a field of each of some learners, and return the answers. `fieldOf` is given the field's first argument, which is
 * the learner (null for the user), and a place in the list.
 */
export async function askEach(users, fieldOf, signal, fragment = '') {
  const answers = [];
  for (let from = 0; from < users.length; from += MAX_ALIASES) {
    const some = users.slice(from, from + MAX_ALIASES);
    const fields = some.map((_, at) => `u${at}: ${fieldOf(`userId: $u${at}`, from + at)}`);
    const query = `query Each(${some.map((_, at) => `$u${at}: ID`)}) { ${fields.join(' ')} } ${fragment}`;
    const variables = Object.fromEntries(some.map((user, at) => [`u${at}`, user]));
    answers.push(...Object.values((await runQuery(query, variables, signal)).data));
  }
  return answers;
}

export const post = (path, accept, body, timeout, signal) => send(path, {
  method: 'POST', headers: { Accept: accept, 'Content-Type': 'application/json' }, body: JSON.stringify(body),
}, timeout, signal);

async function send(path, { headers, ...options }, timeout, signal) {
  const signals = [signal, timeout && AbortSignal.timeout(timeout)].filter(Boolean);
  try {
    return await fetch(new URL(path, document.baseURI), {
      ...options,
      headers: { ...headers, Authorization: `Bearer ${session.token()}` },
      credentials: 'omit',
      signal: AbortSignal.any(signals),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(navigator.onLine ? 'away' : 'offline', error.message);
  }
}

export async function isReachable() {
  const options = { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) };
  return fetch(new URL('health', document.baseURI), options).then(({ ok }) => ok, () => false);
}

/** The problem of a response; null for a complete answer. */
export function problemOf(response, answer) {
  const error = answer?.errors?.[0];
  if (response.ok && answer?.data && !error) return null;
  const { code, traceId } = error?.extensions ?? {};
  const details = { after: parseRetryAfter(response.headers.get('Retry-After')), trace: traceId, code };
  return new Problem(kindOf(response, code), error?.message ?? `HTTP ${response.status}`, details);
}

function kindOf(response, code) {
  if (response.status === 401) return 'signed-out';
  if (response.status === 429) return 'busy';
  return KINDS[code] ?? (response.status >= 502 ? 'away' : 'fault');
}

/** The seconds to wait according to a Retry-After header, which contains a number of seconds or a date. */
function parseRetryAfter(header) {
  if (!header) return null;
  const seconds = Number(header);
  return Number.isFinite(seconds) ? seconds : Math.max(0, (Date.parse(header) - Date.now()) / 1000);
}
