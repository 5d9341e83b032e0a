// The queries of docs/api.md. Each opens in a tab of GraphiQL.

const DAY_MS = 86_400_000;
const day = (ago) => new Date(Date.now() - ago * DAY_MS).toISOString().slice(0, 10);

const tab = (query, variables = {}) => ({ query, variables: JSON.stringify(variables, null, 2) });

export const examples = [
  tab(`query Page {
  userProgress {
    totalItemsLearned
    totalStudyTimeMinutes
    accuracyRate
    masteryStats { unlearned learning shortTermMastered longTermMastered }
    lastUpdated
  }
  streak { current longest activeToday atRisk }
  levelStats { level progressRate catalogueItems }
}
`),
  tab(`query Calendar($from: Date!, $to: Date!) {
  dailyStats(from: $from, to: $to) {
    date
    answers
    accuracyRate
    studyTimeMinutes
  }
}
`, { from: day(365), to: day(0) }),
  tab(`query Due {
  dueForecast(days: 7) { date items }
}
`),
  tab(`query Items($after: String) {
  itemStats(filter: STRUGGLING, orderBy: ACCURACY, first: 2, after: $after) {
    totalCount
    pageInfo { hasNextPage endCursor }
    edges { node { itemId headword level accuracyRate dueAt } }
  }
}
`, { after: null }),
  tab(`subscription Live {
  progressUpdated { totalSessionsCompleted currentStreak lastUpdated }
}
`),
  tab(`query Errors {
  itemStats(first: 500) { totalCount }
}
`),
];
