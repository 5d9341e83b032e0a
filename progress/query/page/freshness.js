// How fresh the numbers are, said where they end.

import { h } from './dom.js';
import { count, distance, moment } from './format.js';

const BATCH = new Set(['weekly_stats', 'domain_stats', 'level_stats']);
const NOTICEABLE = 2; // seconds: what takes less is over before it is read

/** How many recorded events the numbers of the day do not have yet. */
export function behind(projections) {
  const late = projections.filter((each) => !BATCH.has(each.name) && each.secondsBehind >= NOTICEABLE);
  return Math.max(0, ...late.map((each) => each.eventsBehind));
}

export function freshness({ projections, projectedTo, progress }) {
  const isLate = projections.some((each) => each.status === 'CRITICAL');
  const parts = [counted(behind(projections), projectedTo)];
  if (progress) parts.push(`Your newest event was recorded ${distance(progress.lastUpdated)}.`);
  parts.push(isLate ? 'Weeks, levels and skills are late.' : 'Weeks, levels and skills follow within five minutes.');
  return h('footer', { class: `fresh${isLate ? ' late' : ''}`, 'data-key': 'fresh' }, parts.join(' '));
}

function counted(waiting, projectedTo) {
  if (!waiting) return 'Everything recorded so far is counted.';
  const from = projectedTo?.time ? `: the numbers are those of ${moment(projectedTo.time)}` : '';
  return `${count(waiting, 'recorded event is', 'recorded events are')} still being counted${from}.`;
}
