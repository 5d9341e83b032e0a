// The footer: how fresh the numbers are.

import { h } from './dom.js';
import { count, distance, moment } from './format.js';

const BATCH = new Set(['weekly_stats', 'domain_stats', 'level_stats']);
const NOTICEABLE_S = 2; // a shorter lag ends before a user can read about it

/** The number of recorded events that today's numbers do not include yet. */
export function countBehind(projections) {
  const late = projections.filter((row) => !BATCH.has(row.name) && row.secondsBehind >= NOTICEABLE_S);
  return Math.max(0, ...late.map((row) => row.eventsBehind));
}

export function freshness({ projections, projectedTo, progress }) {
  const isLate = projections.some((row) => row.status === 'CRITICAL');
  const parts = [describeLag(countBehind(projections), projectedTo)];
  if (progress) parts.push(`Your newest event was recorded ${distance(progress.lastUpdated)}.`);
  parts.push(isLate ? 'Weeks, levels and skills are late.' : 'Weeks, levels and skills follow within five minutes.');
  return h('footer', { class: `fresh${isLate ? ' late' : ''}`, 'data-key': 'fresh' }, parts.join(' '));
}

function describeLag(waiting, projectedTo) {
  if (!waiting) return 'Everything recorded so far is counted.';
  const from = projectedTo?.time ? `: the numbers are those of ${moment(projectedTo.time)}` : '';
  return `${count(waiting, 'recorded event is', 'recorded events are')} still being counted${from}.`;
}
