// What the page tells first: what to do and how long it takes or, after the first study of the day, what the day has
// brought; and how much the learner is expected to know. docs/guide.md has the rules of the sentence.

import { h } from './dom.js';
import { dayAfter, longDay, minutes, number } from './format.js';
import { STAGES } from './freshness.js';
import { parts, t } from './i18n.js';
import { knowledgePage, wordsOf } from './items.js';
import { expectedOf } from './layout.js';
import { monday, sum } from './periods.js';
import { pastDay } from './then.js';

const MINUTES = 15; // what the sentence asks of a learner at once

/** The Mondays of this week, and of the week whose end the estimate is compared with. */
export const newsRange = (day) => ({ monday: monday(day), before: dayAfter(monday(day), -28) });

/** The sentence as texts and links; empty until its numbers have arrived, and without a word that was ever answered. */
export function tell(data) {
  if (!data.knowledge?.items) return [];
  const told = data.streak.activeToday ? tellToday(data) : tellMorning(data);
  return told.filter(Boolean).flatMap((sentence, index) => [index ? t('gap') : '', ...[sentence].flat(2)]);
}

/** A link to the words that a number counts. */
const door = (data, text, ...which) => h('a', { href: wordsOf(data, ...which) }, text);

/** What was newly mastered and what slipped back since a day; all languages count. */
function happened(data, from) {
  const { days, day, language, week, slipped } = data;
  if (language) return [];
  const counts = {
    mastered: sum(days, from, day).newMasteryCount,
    slipped: (from < day ? week?.[0]?.slippedBack : slipped?.totalCount) ?? 0,
  };
  return [['mastered', 'newly_mastered'], ['slipped', 'slipped_back']].filter(([name]) => counts[name])
    .map(([name, filter]) => door(data, t(`news.${name}`, { count: counts[name] }), filter, from, day));
}

const listed = (texts) => texts.flatMap((text, index) => (index ? [t('separator'), text] : [text]));

function tellToday(data) {
  const { day, days, streak, goal, due: [{ items }] } = data;
  const told = happened(data, day);
  const left = goal ? goal.answersPerDay - goal.answersToday : 0;
  return [
    parts('news.today', {
      happened: told.length ? listed(told) : t('count.answers', { count: days.get(day)?.answers ?? 0 }),
    }),
    t('news.streak', { count: streak.current }),
    goal && t(left > 0 ? 'news.unmet' : 'news.met', { count: left }),
    items > 0
      ? parts(left > 0 ? 'news.stillDue' : 'news.wait',
        { count: items, due: door(data, number(items), 'due'), time: time(items, data) })
      : t('news.done'),
  ];
}

function tellMorning(data) {
  const { day, knowledge: { fading }, workload, due: [{ items }] } = data;
  const told = monday(day) < day ? happened(data, monday(day)) : [];
  const pace = workload?.secondsPerAnswer;
  const first = pace ? Math.max(1, Math.floor((60 * MINUTES) / pace)) : Infinity;
  const ask = (few, many, count, link) =>
    parts(count > first ? many : few, { count, first, minutes: MINUTES, words: link, time: time(count, data) });
  return [
    told.length > 0 && parts('news.week', { happened: listed(told) }),
    fading > 0 ? ask('news.few', 'news.many', fading, door(data, t('news.fading', { count: fading }), 'fading'))
      : items > 0 ? ask('news.repeat', 'news.first', items, door(data, number(items), 'due'))
        : t('news.learn', { minutes: MINUTES }),
  ];
}

/** How long so many answers take, in brackets; empty if this is unknown. */
function time(count, { workload }) {
  if (!workload?.secondsPerAnswer) return '';
  const whole = Math.ceil((count * workload.secondsPerAnswer) / 60 - 1e-9);
  return t('news.time', { time: whole < 60 ? t('news.minutes', { count: whole }) : minutes(whole) });
}

/** The sentence, which is warm once the learner has studied; nothing in the past. */
export const news = (data) => !pastDay()
  && h('div', { class: `card news${data.streak.activeToday ? ' warm' : ''}`, 'data-key': 'news' },
    h('p', null, tell(data)));

/**
 * How much the learner is expected to know: a figure, and how it changed in the last weeks. Until these numbers arrive,
 * others of about the same length keep their place, invisibly.
 */
export function known({ user, day, language, knowledge, curve, progress }) {
  const count = STAGES.reduce((sum, name) => sum + (progress?.masteryStats[name] ?? 0), 0);
  const before = !language && curve?.[0];
  const change = before && knowledge ? Math.round(knowledge.expected) - Math.round(before.expected) : 0;
  const compared = t(`news.${change ? change < 0 ? 'fewer' : 'more' : 'same'}`,
    { count: Math.abs(change), day: longDay(before?.end ?? day) });
  return [
    h('div', { class: knowledge ? null : 'ghost' }, expectedOf(knowledge ?? { expected: count, items: count })),
    h('p', { class: before && knowledge ? 'note' : 'note ghost' }, compared),
    h('a', { class: 'button quiet', href: knowledgePage(user) }, t('knowledge.more')),
  ];
}
