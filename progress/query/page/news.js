// What the page tells first: one sentence of what happened and what helps, and how much the learner is expected to know.
// docs/guide.md has the rules of the sentence.

import { h } from './dom.js';
import { dayAfter, longDay } from './format.js';
import { STAGES } from './freshness.js';
import { join, sentences, t } from './i18n.js';
import { itemList, knowledgePage } from './items.js';
import { expectedOf } from './layout.js';
import { monday, sum } from './periods.js';
import { pastDay } from './then.js';

const MINUTES = 15; // what the sentence asks of a learner at once

/** The Mondays of this week, and of the week whose end the estimate is compared with. */
export const newsRange = (day) => ({ monday: monday(day), before: dayAfter(monday(day), -28) });

/** The sentence; empty until its numbers have arrived, and without an item that was ever answered. */
export function tell({ day, days, due, streak, language, week, knowledge, workload }) {
  if (!knowledge?.items) return '';
  const start = monday(day);
  const mastered = language ? 0 : sum(days, start, day).newMasteryCount;
  const slipped = language ? 0 : week?.[0]?.slippedBack ?? 0;
  const { fading } = knowledge;
  const happened = join(
    mastered > 0 && t('news.mastered', { count: mastered }),
    slipped > 0 && (mastered || fading) > 0 && t('news.slipped', { count: slipped }));
  return sentences(
    happened && t(start === day ? 'news.today' : 'news.week', { happened }),
    fading > 0 ? save(fading, workload?.secondsPerAnswer)
      : !happened && (due[0].items ? remains(day, due[0].items, streak.lastStudyDate, language ? null : knowledge) : t('news.fresh')));
}

/** What is there although items are due. `knowledge` is null if it is that of one language: due items are of all. */
function remains(day, due, last, knowledge) {
  if (!knowledge) return t('news.none');
  const { expected, items } = knowledge;
  return sentences(
    last && last < dayAfter(day, -6) && t('news.last', { day: longDay(last) }),
    t('news.remains', { count: items, expected: Math.round(expected), due }));
}

/** What is fading, and how long the learner needs to repeat it; of many items, as many as fit into MINUTES. */
function save(count, pace) {
  if (!pace) return t('news.fading', { count });
  const first = Math.floor((60 * MINUTES) / pace);
  if (count > first && first > 0) return t('news.many', { count, first, minutes: MINUTES });
  return t('news.few', { count, time: t('next.minutes', { count: Math.ceil((count * pace) / 60) }) });
}

/** The sentence with a button into the fading items; nothing in the past. */
export function news(data) {
  if (pastDay()) return null;
  return h('div', { class: 'news', 'data-key': 'news' },
    h('p', null, tell(data)),
    data.knowledge?.fading > 0 && h('a', { class: 'button quiet', href: itemList(data.user, { filter: 'fading' }) }, t('news.see')));
}

/**
 * How much the learner is expected to know: a figure, and how it changed in the last weeks. Until these numbers arrive,
 * others of about the same length keep their place, invisibly.
 */
export function known({ user, day, language, knowledge, curve, progress }) {
  const count = STAGES.reduce((sum, name) => sum + (progress?.masteryStats[name] ?? 0), 0);
  const before = !language && curve?.[0];
  const change = before && knowledge ? Math.round(knowledge.expected) - Math.round(before.expected) : 0;
  const compared = t(`news.${change ? change < 0 ? 'fewer' : 'more' : 'same'}`, { count: Math.abs(change), day: longDay(before?.end ?? day) });
  return [
    h('div', { class: knowledge ? null : 'ghost' }, expectedOf(knowledge ?? { expected: count, items: count })),
    h('p', { class: before && knowledge ? 'note' : 'note ghost' }, compared),
    h('a', { class: 'button quiet', href: knowledgePage(user) }, t('knowledge.more')),
  ];
}
