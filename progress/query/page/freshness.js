// The footer: how fresh the numbers are.

import { h } from './dom.js';
import { distance, moment } from './format.js';
import { sentences, t } from './i18n.js';

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
  if (progress) parts.push(t('fresh.newest', { time: distance(progress.lastUpdated) }));
  if (progress) parts.push(t(isLate ? 'fresh.late' : 'fresh.batch'));
  return h('footer', { class: `fresh${isLate ? ' late' : ''}`, 'data-key': 'fresh' }, sentences(parts));
}

function describeLag(count, projectedTo) {
  if (!count) return t('fresh.complete');
  if (!projectedTo?.time) return t('fresh.counting', { count });
  return t('fresh.countingSince', { count, time: moment(projectedTo.time) });
}
