// Questions to the API, and what can be the matter with the answer.

import * as session from './session.js';

const PATIENCE = 20_000; // milliseconds

/** Why there is no answer: `kind` tells what to do, `after` how many seconds to wait. */
export class Problem extends Error {
  constructor(kind, message, { after = null, trace = null } = {}) {
    super(message);
    Object.assign(this, { kind, after, trace });
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

/** The answer's data and extensions; a Problem where there is no whole answer. */
export async function ask(query, variables) {
  const response = await post('graphql', 'application/json', { query, variables }, PATIENCE);
  const answer = await response.json().catch(() => null);
  const problem = problemOf(response, answer);
  if (problem) throw problem;
  return answer;
}

/** The response to a request; a Problem if there is none. */
export async function post(path, accept, body, patience, signal) {
  const signals = [signal, patience && AbortSignal.timeout(patience)].filter(Boolean);
  try {
    return await fetch(new URL(path, document.baseURI), {
      method: 'POST',
      headers: {
        Accept: accept,
        'Content-Type': 'application/json',
        Authorization: `Bearer ${session.token()}`,
      },
      body: JSON.stringify(body),
      credentials: 'omit',
      signal: AbortSignal.any(signals),
    });
  } catch (fault) {
    if (signal?.aborted) throw fault;
    throw new Problem(navigator.onLine ? 'away' : 'offline', fault.message);
  }
}

/** What is the matter with a response; null if nothing is. */
export function problemOf(response, answer) {
  const error = answer?.errors?.[0];
  if (response.ok && answer?.data && !error) return null;
  const { code, traceId } = error?.extensions ?? {};
  const details = { after: waiting(response.headers.get('Retry-After')), trace: traceId };
  return new Problem(kindOf(response, code), error?.message ?? `HTTP ${response.status}`, details);
}

function kindOf(response, code) {
  if (response.status === 401) return 'signed-out';
  if (response.status === 429) return 'busy';
  return KINDS[code] ?? (response.status >= 502 ? 'away' : 'fault');
}

/** Seconds that Retry-After tells, as a number or as a date. */
function waiting(header) {
  if (!header) return null;
  const seconds = Number(header);
  return Number.isFinite(seconds) ? seconds : Math.max(0, (Date.parse(header) - Date.now()) / 1000);
}
