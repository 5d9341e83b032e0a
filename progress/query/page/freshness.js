// The footer, which says how fresh the numbers are, and functions that look for events that are not counted yet.

import { h } from './dom.js';
import { ago, moment } from './format.js';
import { sentences, t } from './i18n.js';

const BATCH = new Set(['weekly_stats', 'domain_stats', 'level_stats']);
const OUT = 'events out'; // what leaves the system, which the page does not show
export const STAGES = ['longTermMastered', 'shortTermMastered', 'learning'];
export const masteredNow = ({ shortTermMastered, longTermMastered }) => shortTermMastered + longTermMastered;
const NOTICEABLE_S = 2; // a shorter lag ends before a user can read about it

/** The most events by which a projection is behind, but for batch projections and lags below NOTICEABLE_S. */
export function countBehind(projections) {
  const shown = projections.filter(({ name }) => !BATCH.has(name) && name !== OUT);
  const late = shown.filter((row) => row.secondsBehind >= NOTICEABLE_S);
  return Math.max(0, ...late.map((row) => row.eventsBehind));
}

/** True if the batch job, which counts levels and skills, is late. */
export const isBatchLate = ({ projections }) =>
  projections.some((row) => BATCH.has(row.name) && row.status === 'CRITICAL');

/**
 * True if the levels and skills do not include the learner's newest events yet. Each item has one level, so the counts
 * of all levels should add up to the learner's counts by stage. The learner's counts are updated immediately. If the
 * sums differ, the levels are therefore behind. If the levels are those of one language, its number of items is
 * compared, which is updated immediately, too.
 */
export function isBatchPending({ levels, progress, projections, languages, language }) {
  if (!progress) return false;
  const counted = (name) => levels.reduce((count, row) => count + row[name], 0);
  const differs = language
    ? counted('itemsStudied') !== (languages.find((one) => one.language === language)?.itemsStudied ?? 0)
    : STAGES.some((name) => counted(name) !== progress.masteryStats[name]);
  const batch = projections.find((row) => row.name === 'level_stats');
  return differs || (batch?.eventsBehind > 0 && Date.parse(progress.lastUpdated) > Date.parse(batch.updatedAt ?? 0));
}

/** The footer. While the levels or skills are behind, it does not say that everything is counted. */
export function freshness(data) {
  const { projections, projectedTo, progress } = data;
  const isLate = Boolean(progress) && isBatchLate(data);
  const isPending = isLate || isBatchPending(data);
  const count = countBehind(projections);
  const parts = [
    (count || !isPending) && describeLag(count, projectedTo),
    progress && t('fresh.newest', { time: ago(progress.lastUpdated) }),
    isPending && t(isLate ? 'fresh.late' : 'fresh.batch'),
  ];
  return h('footer', { class: `fresh${isLate ? ' late' : ''}`, 'data-key': 'fresh' }, sentences(parts));
}

function describeLag(count, projectedTo) {
  if (!count) return t('fresh.complete');
  if (!projectedTo?.time) return t('fresh.counting', { count });
  return t('fresh.countingSince', { count, time: moment(projectedTo.time) });
}
