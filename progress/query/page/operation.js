// One operation: the fields to query, its kind, its progress and the size of its download.

import { h, s } from './dom.js';
import { percent } from './format.js';
import { t, textOf } from './i18n.js';

export const OPERATION = `id kind state startedBy subject progress error result startedAt finishedAt
  steps { name state attempts error } download { bytes }`;
const MIB = 1 << 20;

export const kindOf = ({ kind }) => textOf(`operation.kinds.${kind}`, kind);
/** True for an operation that somebody cancelled. This is no failure, although its state is FAILED. */
export const isCancelled = ({ state, error }) => state === 'FAILED' && error === 'cancelled';
export const hasEnded = ({ state }) => ['SUCCEEDED', 'FAILED', 'TIMED_OUT'].includes(state);

export function size({ bytes }) {
  return bytes < MIB / 10 ? `${Math.ceil(bytes / 1024)} kB` : `${(bytes / MIB).toFixed(1)} MB`;
}

export function progress(row) {
  const percentage = Math.round(100 * row.progress);
  const range = { 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': percentage };
  const name = t('operation.progress', { kind: kindOf(row) });
  return h('div', { class: 'running', role: 'progressbar', 'aria-label': name, ...range },
    s('svg', { class: 'bar' }, s('rect', { class: 'right', width: `${percentage}%`, height: '100%' })),
    h('span', null, percent(row.progress)));
}
