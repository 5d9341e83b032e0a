// The list of operations. Each entry shows the operation's state, steps and result.

import { h } from './dom.js';
import { ago, longDay, moment, number } from './format.js';
import { sayReason } from './dead_letters.js';
import { join, parts, t } from './i18n.js';
import { panel } from './layout.js';
import { hasEnded, isCancelled, kindOf, progress, size } from './operation.js';

// For each kind of operation, the step that is its point of no return. Once this step has started, the operation cannot
// be cancelled. If the operation fails after that, it can be tried again.
const FINAL_STEPS = {
  REBUILD: 'swap', ARCHIVE: 'join', ERASE_USER: 'forbid', EXPORT_USER: 'offer', EXPORT_STATISTICS: 'offer',
};
const PLACES = [
  'events', 'sessions', 'pending', 'dead_letters', 'bundled_letters', 'undecodable_letters', 'snapshots',
  'milestone_marks', 'accesses', 'poisoned', 'operations', 'exports', 'files', 'archived_events',
  'dropped_messages',
];
const COPIES = ['backups', 'pubsub', 'pubsub_dead_letters'];
const STYLES = { SUCCEEDED: 'good', COMPENSATING: 'bad', FAILED: 'bad', TIMED_OUT: 'bad' };

const isFinal = ({ kind, steps }) => steps.some(({ name, attempts }) => name === FINAL_STEPS[kind] && attempts > 0);
const canCancel = (row) => ['PENDING', 'RUNNING'].includes(row.state) && !isFinal(row);
const canRetry = (row) => ['FAILED', 'TIMED_OUT'].includes(row.state) && isFinal(row);

/** A page of operations, the newest first; `pages` is the number of pages before it. */
export function operations(rows, { hasNextPage }, pages) {
  const turn = (action) =>
    h('button', { type: 'button', class: 'button quiet', 'data-action': action }, t(`operation.${action}`));
  return panel('operations', t('operation.title'), null,
    h('div', { class: 'tools' },
      h('button', { type: 'button', class: 'button', 'data-action': 'batch' }, t('operation.runBatch')),
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'rebuild' }, t('operation.rebuild')),
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'erase' }, t('operation.erase'))),
    rows.length === 0 && h('p', { class: 'note' }, t('operation.none')),
    h('ul', { class: 'operations' }, rows.map(operation)),
    (hasNextPage || pages > 0) && h('div', { class: 'tools' },
      pages > 0 && turn('newer'), hasNextPage && turn('older')));
}

function operation(row) {
  const ended = row.finishedAt
    ? t('operation.ended', { distance: ago(row.finishedAt) })
    : t('operation.started', { distance: ago(row.startedAt) });
  const replay = replayOutcome(row);
  return h('li', { 'data-key': row.id },
    h('div', { class: 'head' },
      // Not "Done" if letters stay.
      h('h3', null, kindOf(row), ' ', (!replay || replay.isGood) && chip(isCancelled(row) ? 'CANCELLED' : row.state)),
      h('span', { class: 'of' }, ended)),
    h('p', { class: 'of' },
      row.startedBy ? parts('operation.by', { user: id(row.startedBy) }) : t('operation.bySystem'),
      row.subject && [t('separator'), ...subjectOf(row)]),
    replay && outcome(replay),
    !hasEnded(row) && progress(row),
    row.error && !isCancelled(row) && h('p', { class: 'error', lang: 'en' }, row.error),
    canCancel(row) && change(row, 'cancel', t('data.cancel')),
    canRetry(row) && change(row, 'retry', t('problem.tryAgain')),
    row.download && change(row, 'download', t('operation.download', { size: size(row.download) })),
    h('details', { 'data-key': 'steps' },
      h('summary', null, t('operation.steps', { count: row.steps.length }),
        h('span', { class: 'unseen' }, ' ', t('operation.stepsOf', { kind: kindOf(row), ended }))),
      h('ol', { class: 'steps' }, row.steps.map(step)),
      row.result && result(row)));
}

/** What the operation acts on. Of an erased learner, the operation has only a digest. */
const subjectOf = ({ kind, subject }) => (kind.endsWith('_USER') && /^[0-9a-f]{64}$/.test(subject)
  ? [t('operation.erased')] : parts(`operation.subjects.${kind}`, { subject: id(subject) }));

/** How many dead letters were replayed, and how many stay, by reason; null for other operations. */
export function replayOutcome({ kind, result: text }) {
  if (kind !== 'REPLAY_DEAD_LETTERS' || !text) return null;
  const { replayed, stay } = JSON.parse(text);
  const reasons = Map.groupBy(stay, ({ reason }) => reason);
  return {
    text: t('operation.replayed', { count: replayed.length, stay: stay.length }),
    isGood: stay.length === 0,
    reasons: [...reasons].map(([reason, letters]) => [letters.length, reason]).sort(([one], [other]) => other - one),
  };
}

const outcome = ({ text, isGood, reasons }) => [
  h('p', { class: isGood ? null : 'error' }, text),
  reasons.length > 0 && h('ul', { class: 'facts' },
    reasons.map(([count, reason]) => h('li', null, number(count), ' × ', sayReason(reason)))),
];

const id = (text) => h('span', { translate: 'no' }, text);

function result({ kind, result: text }) {
  if (kind === 'ERASE_USER') return receipt(text);
  return h('pre', { tabindex: 0, role: 'region', 'aria-label': t('operation.result') }, text);
}

function change(row, action, text) {
  const name = t('operation.action', { action: text, kind: kindOf(row) });
  const attributes = { class: 'button quiet', 'data-action': action, 'data-id': row.id, 'aria-label': name };
  return h('button', { type: 'button', ...attributes }, text);
}

function step(row) {
  return h('li', null, h('span', { translate: 'no' }, row.name), ' ', chip(row.state),
    row.attempts > 1 && h('span', { class: 'of' }, t('operation.attempts', { count: row.attempts })),
    row.error && h('span', { class: 'of', lang: 'en' }, row.error));
}

function chip(state) {
  return h('span', { class: `chip ${STYLES[state] ?? ''}`.trim() }, t(`operation.states.${state}`));
}

/** The receipt of an erasure, from its result as JSON: what was erased, and where and until when something is left. */
function receipt(result) {
  const { digest, erased_at, closed_at, reason, erased, found, places, in_events_of_others, published, copies_until } =
    JSON.parse(result);
  const left = join(Object.entries(places).map(([place, rows]) => t('receipt.left', { rows, place })));
  const facts = [
    [t('receipt.learner'), h('span', { translate: 'no' }, digest)],
    [t('receipt.since'), moment(erased_at)],
    [t('receipt.complete'), moment(closed_at)],
    ...(reason ? [[t('letters.reason'), h('span', { lang: 'en' }, reason)]] : []),
    ...PLACES.filter((place) => place in erased).map((place) => [t(`receipt.places.${place}`), number(erased[place])]),
    [t('receipt.found'), left ? t('receipt.foundIn', { found, left }) : number(found)],
    [t('receipt.others'), number(in_events_of_others)],
    ...(published ? [[t('receipt.published'), t('receipt.publishedStays')]] : []),
    ...COPIES.map((copies) => [t(`receipt.copies.${copies}`), longDay(copies_until[copies])]),
  ];
  return h('dl', { class: 'receipt', 'aria-label': t('receipt.title') },
    facts.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]));
}
