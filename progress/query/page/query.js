// The GraphQL documents of a learner's page: what it paints first, what takes longer, and subscriptions to changes.

import { now } from './format.js';
import { pastDay } from './past_day.js';

const DAY = `date answers correctAnswers averageResponseMs studySeconds sessionsCompleted itemsLearned
  newMasteryCount`;
const SHARE = `itemsStudied accuracyRate learning shortTermMastered longTermMastered
  catalogueItems progressRate`;

const PROGRESS = `displayName totalItemsLearned totalSessionsCompleted totalStudyTimeMinutes accuracyRate
  lastUpdated masteryStats { unlearned learning shortTermMastered longTermMastered }`;

const MILESTONE = 'id kind value level reachedOn';

export const QUERY = `query Page($user: ID, $language: String, $from: Date!, $to: Date!) {
  progress: userProgress(userId: $user) { ${PROGRESS} }
  streak(userId: $user) {
    current longest longestStart longestEnd lastStudyDate activeToday atRisk restToday
  }
  days: dailyStats(userId: $user, from: $from, to: $to) { ${DAY} }
  restDays(userId: $user, from: $from, to: $to)
  goal(userId: $user) { answersPerDay answersToday daysMet7 week }
  levels: levelStats(userId: $user, language: $language) {
    level ${SHARE} masteredLast28Days expectedDate reached
  }
  domains: domainStats(userId: $user, language: $language) { domain answers ${SHARE} }
  weakest: itemStats(userId: $user, language: $language, filter: STRUGGLING, orderBy: ACCURACY, first: 5) {
    totalCount
    edges { node { itemId headword language level answers correctAnswers accuracyRate dueAt dueOn inPlay } }
  }
  retention(userId: $user, from: $from, to: $to) {
    start young { asked recalled } mature { asked recalled }
  }
  hours: hourlyStats(userId: $user) { hour answers accuracyRate }
  languages(userId: $user) { language itemsStudied kinds }
  due: dueForecast(userId: $user, days: 29) { date items overdue }
  workload(userId: $user) { secondsPerAnswer }
  milestones(first: 4, userId: $user, kinds: [STREAK, ITEMS_LEARNED, ITEMS_MASTERED, LEVEL_REACHED]) {
    edges { node { ${MILESTONE} } }
  }
  projections: projectionStatus { name eventsBehind secondsBehind status updatedAt changedAt }
}`;
export const TASKS = '{ edges { node { listId listName groupId groupName dueOn items known knownNow expected } } }';
export const TASKS_QUERY = `query Tasks($user: ID) { tasks(first: 20, userId: $user) ${TASKS} }`;
// What to do now is of all languages; the section "How far" shows the chosen one.
const ESTIMATE = `knowledge(userId: $user) { expected items fading }
  chosen: knowledge(userId: $user, language: $language) @include(if: $isChosen) { expected items }`;

export const NEWS_QUERY = `query News($user: ID, $language: String, $isChosen: Boolean!, $monday: Date!) {
  ${ESTIMATE}
  tasks(first: 20, userId: $user) ${TASKS}
  week: weeklyStats(userId: $user, from: $monday, to: $monday, zeroFill: true) { slippedBack }
}`;
/** The news after the first study of the day. */
export const TODAY_QUERY = `query News($user: ID, $language: String, $isChosen: Boolean!) {
  ${ESTIMATE}
  tasks(first: 20, userId: $user) ${TASKS}
  slipped: itemStats(userId: $user, filter: SLIPPED_BACK, first: 1) { totalCount }
}`;
export const FRAME_QUERY = `query Frame($user: ID, $before: Date!) {
  curve: knowledgeCurve(userId: $user, from: $before, to: $before) { end expected }
}`;
export const PAST_QUERY = `query Past($user: ID, $language: String, $isChosen: Boolean!) { ${ESTIMATE} }`;
export const EARLIER_QUERY = `query Earlier($user: ID, $from: Date!, $to: Date!) {
  days: dailyStats(userId: $user, from: $from, to: $to) { ${DAY} }
  restDays(userId: $user, from: $from, to: $to)
}`;
export const SUBSCRIPTION = `subscription Live($user: ID) {
  progress: progressUpdated(userId: $user) { ${PROGRESS} }
}`;

export const MILESTONES = `subscription Milestones($user: ID) {
  milestone: milestoneReached(userId: $user) { ${MILESTONE} }
}`;

export const MAX_YEARS = 14; // of a curve by week

/** The last calendar years with the current one: a range, and so a cache key, that is the same all year. */
export function range(years = 2) {
  const last = new Date(now() + 14 * 3_600_000).getUTCFullYear(); // at UTC+14
  return { from: `${last - years + 1}-01-01`, to: `${last}-12-31` };
}

const DAY_S = 86_400;

/** The entries of a map by date. A day of several idle sessions counts as at most 24 hours of study. */
export const byDate = (days) => days.map((day) =>
  [day.date, { ...day, studySeconds: Math.min(day.studySeconds, DAY_S) }]);

/**
 * Convert the days of the data to a map by date and the rest days to a set. Add the learner's current day. In the past,
 * leave out the projections, because they show the present.
 */
export const joinDays = ({ days, restDays, projections, ...rest }) => ({
  ...rest,
  projections: pastDay() ? [] : projections,
  day: rest.due[0].date,
  days: new Map(byDate(days)),
  restDays: new Set(restDays),
});
