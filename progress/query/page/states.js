// The card "Words by state": how many were learning, known and lasting at the end of each week. It is loaded when seen.

import { runQuery } from './api.js';
import { axis, chart, columns, dateLabels, roundUp, slots } from './charts.js';
import { days, longDay, number } from './format.js';
import { STAGES } from './freshness.js';
import { stageLegend } from './how_far.js';
import { join, parts, t } from './i18n.js';
import { wordsLink } from './items.js';
import { newWords } from './languages.js';
import { counting, note, table, unfolded } from './layout.js';
import { byMonth } from './periods.js';
import { MAX_YEARS, range } from './query.js';

const QUERY = `query States($user: ID, $from: Date!, $to: Date!) {
  weeks: masteryCurve(userId: $user, from: $from, to: $to) { start end learning shortTermMastered longTermMastered }
}`;

/** Load the weeks from the first answer on; return the function that draws them. */
export async function load(user, signal) {
  const { weeks } = (await runQuery(QUERY, { user, ...range(MAX_YEARS) }, signal)).data;
  return (data, since) => states(weeks, data, since);
}

/**
 * The content of the card. The last week is as the learner's progress, which is counted at once; the weeks before it,
 * which begin with the first answer, are counted by the batch job.
 */
export function states(weeks, data, since) {
  const { progress, day, days: studied } = data;
  const fresh = newWords(data);
  const answered = [...studied.values()].filter(({ answers }) => answers).map(({ date }) => date).sort();
  const isCounting = answered.length > 0 && !(weeks[0]?.start <= answered[0]);
  const shown = byMonth(weeks.filter(({ end }) => !since || end >= since));
  if (!shown.length) return isCounting ? counting(data) : note(t('states.none'));
  const last = { ...shown.at(-1), ...progress.masteryStats, end: day };
  const rows = [...shown.slice(0, -1), last];
  const named = (row, some = STAGES) =>
    join(some.toReversed().map((name) => `${number(row[name])} ${t(`stage.${name}`)}`));
  const learning = named(last, ['learning']);
  const top = roundUp(Math.max(...rows.map((row) => STAGES.reduce((sum, name) => sum + row[name], 0))));
  const room = slots(rows.length);
  return [
    isCounting && counting(data),
    note(parts('states.now', {
      states: named(last, STAGES.slice(0, 2)),
      learning: last.learning ? wordsLink(data, learning, 'learning') : learning,
      fresh: fresh === undefined ? '' : t('states.fresh', { count: fresh }),
    })),
    chart(columns(rows.map((row) => ({
      parts: STAGES.map((name, index) => [`stage-${index}`, row[name]]),
      title: t('weeks.week', { days: days(row.start, row.end), text: named(row) }),
      key: row.start,
    })), top, t('weeks.chart'), room), [0, top], number, axis(dateLabels(rows.map(({ start }) => start), room), room)),
    stageLegend(STAGES),
    unfolded(t('states.title'), table(
      [t('states.until'), ...STAGES.toReversed().map((name) => t(`stage.${name}`))],
      rows.toReversed().map((row) => [longDay(row.end), ...STAGES.toReversed().map((name) => number(row[name]))]))),
  ];
}
