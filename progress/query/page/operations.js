// Operations: their state, progress, steps and results.

import { h, s } from './dom.js';
import { count, distance, percent } from './format.js';
import { receipt } from './receipt.js';

export const OPERATION = `id kind state progress error result startedAt finishedAt
  steps { name state attempts error } download { bytes }`;
const MIB = 1 << 20;

const KINDS = {
  REBUILD: 'Rebuild', RUN_BATCH: 'Batch run', REPLAY_DEAD_LETTERS: 'Replay of dead letters',
  ARCHIVE: 'Archiving', ERASE_USER: 'Erasure', EXPORT_USER: 'Export', EXPORT_STATISTICS: 'Export of statistics',
};
// From the start of this step, an operation cannot be cancelled; if it fails, it can be tried again.
const FINAL_STEPS = {
  REBUILD: 'swap', ARCHIVE: 'publish', ERASE_USER: 'forbid', EXPORT_USER: 'offer', EXPORT_STATISTICS: 'offer',
};
const STATES = {
  PENDING: ['', 'Waiting'], RUNNING: ['', 'Running'], SUCCEEDED: ['good', 'Done'],
  COMPENSATING: ['bad', 'Taking back'], FAILED: ['bad', 'Failed'], TIMED_OUT: ['bad', 'Timed out'],
};

export const kindOf = ({ kind }) => KINDS[kind] ?? kind;
export const hasEnded = ({ state }) => ['SUCCEEDED', 'FAILED', 'TIMED_OUT'].includes(state);
const isFinal = ({ kind, steps }) => steps.some(({ name, attempts }) => name === FINAL_STEPS[kind] && attempts > 0);
const canCancel = (row) => ['PENDING', 'RUNNING'].includes(row.state) && !isFinal(row);
const canRetry = (row) => ['FAILED', 'TIMED_OUT'].includes(row.state) && isFinal(row);

export function operations(rows) {
  return h('section', { class: 'card', 'aria-labelledby': 'operations', 'data-key': 'operations' },
    h('h2', { id: 'operations' }, 'Operations'),
    h('div', { class: 'tools' },
      h('button', { type: 'button', class: 'button', 'data-action': 'batch' }, 'Run the batch job'),
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'rebuild' }, 'Rebuild projections …'),
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'erase' }, 'Erase a learner …')),
    rows.length === 0 && h('p', { class: 'note' }, 'None has been started yet.'),
    h('ul', { class: 'operations' }, rows.map(operation)));
}

function operation(row) {
  const ended = row.finishedAt ? `ended ${distance(row.finishedAt)}` : `started ${distance(row.startedAt)}`;
  return h('li', { 'data-key': row.id },
    h('div', { class: 'head' },
      h('h3', null, kindOf(row), ' ', chip(row.state)),
      h('span', { class: 'of' }, ended)),
    !hasEnded(row) && progress(row),
    row.error && h('p', { class: 'error' }, row.error),
    canCancel(row) && change(row, 'cancel', 'Cancel'),
    canRetry(row) && change(row, 'retry', 'Try again'),
    row.download && change(row, 'download', `Download (${size(row.download)})`),
    h('details', null,
      h('summary', null, count(row.steps.length, 'step', 'steps'),
        h('span', { class: 'unseen' }, ` of ${kindOf(row)}, ${ended}`)),
      h('ol', { class: 'steps' }, row.steps.map(step)),
      row.result && result(row)));
}

function result({ kind, result: text }) {
  if (kind === 'ERASE_USER') return receipt(text);
  return h('pre', { tabindex: 0, role: 'region', 'aria-label': 'Result' }, text);
}

export function size({ bytes }) {
  return bytes < MIB / 10 ? `${Math.ceil(bytes / 1024)} kB` : `${(bytes / MIB).toFixed(1)} MB`;
}

function change(row, action, text) {
  const name = `${text}: ${kindOf(row)}`;
  const attributes = { class: 'button quiet', 'data-action': action, 'data-id': row.id, 'aria-label': name };
  return h('button', { type: 'button', ...attributes }, text);
}

export function progress(row) {
  const percentage = Math.round(100 * row.progress);
  const range = { 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': percentage };
  const name = `Progress of ${kindOf(row)}`;
  return h('div', { class: 'running', role: 'progressbar', 'aria-label': name, ...range },
    s('svg', { class: 'bar' }, s('rect', { class: 'right', width: `${percentage}%`, height: '100%' })),
    h('span', null, percent(row.progress)));
}

function step(row) {
  return h('li', null, row.name, ' ', chip(row.state),
    row.attempts > 1 && h('span', { class: 'of' }, count(row.attempts, 'attempt', 'attempts')),
    row.error && h('span', { class: 'of' }, row.error));
}

function chip(state) {
  const [style, name] = STATES[state];
  return h('span', { class: `chip ${style}` }, name);
}
