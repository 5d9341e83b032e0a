// The page's queries: all of a learner's numbers in one request, and a subscription to changes.

const DAY = 'date answers correctAnswers studyTimeMinutes sessionsCompleted itemsLearned';
const WEEK = 'start end answers correctAnswers studyTimeMinutes activeDays';
const SHARE = `itemsStudied accuracyRate learning shortTermMastered longTermMastered
  catalogueItems progressRate`;

const PROGRESS = `totalItemsLearned totalSessionsCompleted totalStudyTimeMinutes accuracyRate
  lastUpdated masteryStats { unlearned learning shortTermMastered longTermMastered }`;

export const QUERY = `query Page($user: ID, $from: Date!, $to: Date!, $from2: Date!, $to2: Date!) {
  progress: userProgress(userId: $user) { ${PROGRESS} }
  streak(userId: $user) {
    current longest longestStart longestEnd lastStudyDate activeToday atRisk
  }
  days: dailyStats(userId: $user, from: $from, to: $to) { ${DAY} }
  daysBefore: dailyStats(userId: $user, from: $from2, to: $to2) { ${DAY} }
  weeks: weeklyStats(userId: $user, from: $from, to: $to) { ${WEEK} }
  weeksBefore: weeklyStats(userId: $user, from: $from2, to: $to2) { ${WEEK} }
  levels: levelStats(userId: $user) { level ${SHARE} }
  domains: domainStats(userId: $user) { domain ${SHARE} }
  weakest: itemStats(userId: $user, filter: STRUGGLING, orderBy: ACCURACY, first: 8) {
    totalCount
    edges { node { itemId headword level answers correctAnswers accuracyRate dueAt } }
  }
  due: dueForecast(userId: $user, days: 14) { date items }
  projections: projectionStatus { name eventsBehind secondsBehind status }
}`;
export const EARLIER_QUERY = `query Earlier($user: ID, $from: Date!, $to: Date!) {
  days: dailyStats(userId: $user, from: $from, to: $to) { ${DAY} }
}`;
export const SUBSCRIPTION = `subscription Live($user: ID) {
  progress: progressUpdated(userId: $user) { ${PROGRESS} }
}`;

/** Four years in two ranges, because the API limits a range to 731 days. The ranges stay the same all year. */
export function ranges() {
  const last = new Date(Date.now() + 14 * 3_600_000).getUTCFullYear(); // at UTC+14
  const two = (year) => [`${year - 1}-01-01`, `${year}-12-31`];
  const [from, to] = two(last);
  const [from2, to2] = two(last - 2);
  return { from, to, from2, to2 };
}

/** The data with its days and weeks as maps by date, and with the learner's current day. */
export function joinRanges({ days, daysBefore, weeks, weeksBefore, ...rest }) {
  return {
    ...rest,
    day: rest.due[0].date,
    days: new Map([...daysBefore, ...days].map((day) => [day.date, day])),
    weeks: new Map([...weeksBefore, ...weeks].map((week) => [week.start, week])),
  };
}
