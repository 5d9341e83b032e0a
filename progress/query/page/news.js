// What the page tells first: what to do and how long it takes or, after the first study of the day, what the day has
// brought; and how much the learner is expected to know. docs/guide.md has the rules of the sentence.

import { h } from './dom.js';
import { dayAfter, longDay, minutes as spell, number } from './format.js';
import { STAGES } from './freshness.js';
import { parts, t } from './i18n.js';
import { knowledgePage, wordsOf } from './items.js';
import { expectedOf } from './layout.js';
import { isStudyDay, monday, sum } from './periods.js';
import { decide } from './task.js';
import { pastDay, untilTomorrow, urgency } from './then.js';

/** The Mondays of this week, and of the week whose end the estimate is compared with. */
export const newsRange = (day) => ({ monday: monday(day), before: dayAfter(monday(day), -28) });

/** What to do now, by what the page knows of the learner. A past day has no task: only what is due. */
export function whatNow(data) {
  const { day, days, due, workload, goal, streak, knowledge, progress } = data;
  const known = { due: due.map(({ items }) => items), pace: workload?.secondsPerAnswer, usual: usualMinutes(data) };
  if (pastDay()) return decide({ ...known, streak: {} });
  const learned = progress?.totalItemsLearned;
  return decide({
    ...known, goal, streak, fading: knowledge?.fading, fresh: progress?.masteryStats.unlearned,
    spent: (days.get(day)?.studySeconds ?? 0) / 60, left: untilTomorrow(), urgency: urgency(),
    ended: learned > 0 && endedStreak(data), learned,
  });
}

/** The minutes of a study day in the four weeks before today, rounded. The rule is in the glossary. */
function usualMinutes({ day, days }) {
  const rows = Array.from({ length: 28 }, (_, index) => days.get(dayAfter(day, -1 - index)))
    .filter((row) => row?.studySeconds);
  const mean = rows.length ? rows.reduce((sum, row) => sum + row.studySeconds, 0) / rows.length / 60 : 15;
  return Math.min(60, Math.max(10, 5 * Math.round(mean / 5)));
}

/** The days of the streak that ended yesterday, the first day without study; 0 without two of them. */
function endedStreak({ day, days, restDays, streak }) {
  const isStudied = (date) => days.has(date) && isStudyDay(days.get(date));
  let date = dayAfter(day, -1);
  if (streak.current || isStudied(date) || restDays.has(date)) return 0;
  let length = 0;
  while (isStudied(date = dayAfter(date, -1)) || restDays.has(date)) length += isStudied(date);
  return length > 1 && length;
}

/** A text of the decision, as texts and links; it may have the words of the task, and the time that they take. */
export function say(data, [key, { task, minutes, ...values }]) {
  const texts = Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? t(...value) : value]);
  const duration = minutes && (minutes < 60 ? t('news.minutes', { count: minutes }) : spell(minutes));
  return parts(key, {
    words: door(data, task === 'fading' ? t('news.fading', values) : number(values.count), task), minutes, duration,
    time: duration && t('news.time', { time: duration }), ...Object.fromEntries(texts),
  });
}

/** The sentence as texts and links; empty until its numbers have arrived. */
export function tell(data, now = whatNow(data)) {
  if (!data.knowledge) return [];
  const told = [report(data), ...now.sentence.map((text) => say(data, text))].filter(Boolean);
  return told.flatMap((sentence, index) => [index ? t('gap') : '', ...[sentence].flat(2)]);
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

/** What has happened today or, before the first study of the day, since Monday, if anything has. */
function report(data) {
  const { day, days, streak: { activeToday } } = data;
  const told = activeToday ? happened(data, day) : monday(day) < day ? happened(data, monday(day)) : [];
  const answers = () => t('count.answers', { count: days.get(day)?.answers ?? 0 });
  return (activeToday || told.length > 0)
    && parts(activeToday ? 'news.today' : 'news.week', { happened: told.length ? listed(told) : answers() });
}

/** The sentence, which is warm once the learner has studied; nothing in the past. */
export const news = (data, now) => !pastDay()
  && h('div', { class: `card news${data.streak.activeToday ? ' warm' : ''}`, 'data-key': 'news' },
    h('p', null, tell(data, now)));

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
    h('a', { class: 'button quiet', href: knowledgePage(user) }, t('expected.more')),
  ];
}
