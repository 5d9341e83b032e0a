// What the page tells first: what to do now and how long it takes, from which the sentence and the card "What next"
// take all their words; what has happened; and how much the learner is expected to know. docs/guide.md has the rules.

import { h } from './dom.js';
import { dayAfter, floor, longDay, minutes as spell, number } from './format.js';
import { STAGES } from './freshness.js';
import { parts, t } from './i18n.js';
import { knowledgePage, listLink, listPage, taskText, wordsLink, wordsOf } from './items.js';
import { newWords } from './languages.js';
import { expectedOf } from './layout.js';
import { nameOf, visible } from './names.js';
import { isStudyDay, monday, sum } from './periods.js';
import { pastDay, untilTomorrow, urgency } from './past_day.js';

/** The Mondays of this week, and of the week whose end the estimate is compared with. */
export const newsRange = (day) => ({ monday: monday(day), before: dayAfter(monday(day), -28) });

const FULL = { style: 'next', button: 'next.start' };
const RESTS = { style: 'next rests', button: 'next.open' };
const NEARLY_ALL = 5; // words; if fewer than these or than a tenth would remain, all are to be repeated
const MISSED_DAYS = 3; // so long the page tells of a task that was not done

/**
 * The cases. A name says what to do now and with what: `said` is the sentence, `figure` the card's large number, `note`
 * what stands below it, `style` the card's colour, and `button` the text of its button. All but `style` are keys of
 * texts; the button of a card that rests is small. To go on has the row of to begin, if it has none of its own.
 */
const CASES = {
  'begin none': { said: 'news.none', figure: 'next.due', note: 'next.caughtUp', ...RESTS },
  'begin due': { said: 'news.repeat', figure: 'next.due', note: 'next.time', ...FULL },
  'begin task': { figure: 'next.task', ...FULL, button: 'next.open' },
  'begin fading': { said: 'news.few', figure: 'next.fading', note: 'next.time', ...FULL },
  'begin new': { said: 'news.learn', figure: 'next.new', ...FULL, button: 'next.open' },
  'begin streak': { said: 'news.none', figure: 'next.streak', ...FULL, button: 'next.open' },
  'begin goal': { said: 'news.goal', figure: 'next.goal', ...FULL, button: 'next.open' },
  'go on due': { said: 'news.stillDue', figure: 'next.due', note: 'next.time', ...FULL },
  'too much due': { said: 'news.first', figure: 'next.due', note: 'next.plan', ...FULL },
  'too much fading': { said: 'news.many', figure: 'next.fading', note: 'next.first', ...FULL },
  'done due': { said: 'news.wait', figure: 'next.wait', note: 'next.enough', ...RESTS },
  'done none': { said: 'news.done', figure: 'next.due', note: 'next.caughtUp', ...RESTS },
};

/**
 * Decide. `due` has the numbers of words that are due today and on each day ahead; `fading` and `fresh` are numbers of
 * words; `tasks` are those of groups that are not done, the next one first; `pace` is the seconds per answer, null if
 * unknown. `usual` is the learner's minutes of a day, `spent` those of today. `left` is the milliseconds until the day
 * ends, `urgency` how little that is, from 0 to 2. `ended` is the length of a streak that ended yesterday, else 0. The
 * `studied` days and the `learned` words, which are all of them, stay.
 *
 * Return the case's row, the values of its texts, the text of the time that is left, if it is little, what is to be
 * said first of all, the arguments of `itemStats` for the words, what comes tomorrow, if today is enough, and the
 * sentence. A text is [key, values], and so may be a value.
 */
function decide({
  due: [due, ...ahead], fading, fresh, tasks: [task, ...missed] = [], pace, usual, spent, goal, streak, left, urgency,
  ended, studied, learned,
}) {
  const { activeToday, atRisk, current } = streak;
  const toGoal = goal && Math.max(0, goal.answersPerDay - goal.answersToday);
  const isEnough = streak.restToday || (goal ? toGoal === 0 : activeToday && spent >= usual);
  const ofTask = task?.knownNow == null ? 0 : task.items - task.knownNow;
  const ofToday = ofTask && task.isLastDay && 'task';
  const more = ofTask ? 'task' : toGoal ? 'goal' : fresh && spent < usual ? 'new' : atRisk ? 'streak' : 'none';
  const open = due ? 'due' : fading ? 'fading' : more;
  const aim = ofToday || (!isEnough ? open : due ? 'due' : 'none');
  const count = { due, task: ofTask, fading, goal: toGoal, streak: 1 }[aim] ?? 0;
  const first = pace ? Math.max(1, Math.floor((60 * usual) / pace + 1e-9)) : Infinity;
  const isOfWords = ['due', 'fading'].includes(aim) && !isEnough;
  const isTooMuch = isOfWords && count - first >= Math.max(NEARLY_ALL, count / 10);
  const what = isEnough ? 'done' : isTooMuch ? 'too much' : activeToday ? 'go on' : 'begin';
  const row = CASES[`${what} ${aim}`] ?? CASES[`begin ${aim}`];
  const minutes = aim === 'new' || what === 'too much' ? usual : isOfWords && pace ? toMinutes(count * pace) : null;
  const values = { aim, count, first, minutes };
  const days = row.note === 'next.plan' && daysOfPlan([due, ...ahead], (60 * usual) / pace);
  const hours = urgency && atRisk ? timeLeft(left) : null;
  const ofTasks = [task, ...missed].filter(Boolean).map((one) => ['news.task', { task: one, text: one.text }]);
  return {
    ...row, values, hours, first: task?.isLastDay && ofTasks.shift(),
    words: { due: { filter: 'DUE' }, fading: { filter: 'FADING' }, task: { list: task?.listId } }[aim] ?? {},
    tomorrow: row.note === 'next.enough' && ahead[0] > 0
      && { count: ahead[0], minutes: pace ? toMinutes(ahead[0] * pace) : null },
    note: row.note && (row.note !== 'next.time' || minutes)
      && [days === null ? 'next.grows' : row.note, { ...values, count: days || count }],
    sentence: [
      ended && ['news.ended', {
        count: ended, days: Math.max(ended, studied), words: ['milestones.kinds.ITEMS_LEARNED', { count: learned }] }],
      activeToday && ['news.streak', { count: current }],
      activeToday && goal && aim !== 'goal' && [toGoal ? 'news.unmet' : 'news.met', { count: toGoal }],
      row.said && [row.said, values],
      ...ofTasks,
      (urgency > 1 || aim === 'streak') && atRisk
        && [hours ? 'news.last' : 'news.open', { count: current + 1, left: hours }],
    ].filter(Boolean),
  };
}

// If the result is a whole number of minutes, its floating-point value may be slightly too large. The small subtraction
// prevents an additional minute.
const toMinutes = (seconds) => Math.ceil(seconds / 60 - 1e-9);

/** What is left of the day, rounded down: never more than there is; null if it is more than six hours. */
function timeLeft(milliseconds) {
  const [hours, minutes] = [3_600_000, 60_000].map((unit) => Math.floor(milliseconds / unit));
  if (milliseconds > 6 * 3_600_000) return null;
  if (hours > 0) return ['streak.left', { count: hours }];
  return minutes > 0 ? ['streak.leftMinutes', { count: minutes }] : ['streak.leftSeconds', {}];
}

/** The days until the due words are done, `capacity` a day, while new ones fall due; null if more than four weeks. */
function daysOfPlan(due, capacity) {
  let left = 0;
  const last = due.findIndex((items) => (left = Math.max(0, left + items - capacity)) < 1e-9);
  return last < 0 ? null : last + 1;
}

/** Of the tasks that are not done, the one that ends next; and those that were missed in the last days. */
function openTasks({ tasks, day }) {
  const open = (tasks?.edges ?? []).map(({ node }) => node)
    .filter(({ items, knownNow }) => items > 0 && items !== knownNow);
  const missed = open.filter(({ dueOn, knownNow }) =>
    knownNow !== null && dueOn < day && dueOn >= dayAfter(day, -MISSED_DAYS));
  return [open.findLast(({ dueOn }) => dueOn >= day), ...missed].filter(Boolean)
    .map((task) => ({ ...task, isLastDay: task.dueOn === day, text: taskText(task, day) }));
}

/** What to do now, by what the page knows of the learner. On a past day, only what is due. */
export function whatNow(data) {
  const { day, days, due, workload, goal, streak, knowledge, progress } = data;
  const known = { due: due.map(({ items }) => items), pace: workload?.secondsPerAnswer, usual: usualMinutes(data) };
  if (pastDay()) return decide({ ...known, streak: {} });
  // Until it is known what is fading, this would change under the reader.
  if (!knowledge && !due[0].items) return { ...decide({ ...known, streak: {} }), note: null };
  const learned = progress?.totalItemsLearned;
  return decide({
    ...known, goal, streak, tasks: openTasks(data), fading: knowledge?.fading, fresh: newWords(data),
    spent: (days.get(day)?.studySeconds ?? 0) / 60, left: untilTomorrow(), urgency: urgency(),
    ended: learned > 0 && endedStreak(data), studied: [...days.values()].filter(isStudyDay).length, learned,
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
export function endedStreak({ day, days, restDays, streak }) {
  const isStudied = (date) => days.has(date) && isStudyDay(days.get(date));
  let date = dayAfter(day, -1);
  if (streak.current || isStudied(date) || restDays.has(date)) return 0;
  let length = 0;
  while (isStudied(date = dayAfter(date, -1)) || restDays.has(date)) length += isStudied(date);
  return length > 1 && (streak.longestEnd === streak.lastStudyDate ? streak.longest : length);
}

/** The address of the words that the card's number counts; null if it counts none. */
export const behind = (data, { values: { aim, count }, words }) => (!count ? null
  : words.filter ? wordsOf(data, aim) : words.list ? listPage(words.list, data.user, { missing: 'yes' }) : null);

export const spellOut = (minutes) => (minutes < 60 ? t('news.minutes', { count: minutes }) : spell(minutes));

/** A text of the decision, as texts and links; it may have the words to repeat, and the time that they take. */
export function say(data, [key, { aim, task, minutes, ...values }]) {
  const texts = Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? t(...value) : value]);
  const duration = minutes && spellOut(minutes);
  return parts(key, {
    name: visible(data.progress?.displayName) ?? nameOf('learner', data.user),
    words: wordsLink(data, aim === 'fading' ? t('news.fading', values) : number(values.count), aim), minutes, duration,
    list: task && listLink({ id: task.listId, name: task.listName }, data.user)[0],
    time: duration && t('news.time', { time: duration }), ...Object.fromEntries(texts),
  });
}

/** The sentence as texts and links; empty until its numbers have arrived. */
export function tell(data, now = whatNow(data)) {
  if (!data.knowledge) return [];
  const [first, ...rest] = [now.first, ...now.sentence].map((text) => text && say(data, text));
  const told = [first, report(data), ...rest].filter(Boolean);
  return told.flatMap((sentence, index) => [index ? t('gap') : '', ...[sentence].flat(2)]);
}

function happened(data, from) {
  const { days, day, week, slipped } = data;
  const counts = {
    mastered: sum(days, from, day).newMasteryCount,
    slipped: (from < day ? week?.[0]?.slippedBack : slipped?.totalCount) ?? 0,
  };
  return [['mastered', 'newly_mastered'], ['slipped', 'slipped_back']].filter(([name]) => counts[name])
    .map(([name, filter]) => wordsLink(data, t(`news.${name}`, { count: counts[name] }), filter, from, day));
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

/** The expected number, and how it changed. Until it arrives, one of about its length keeps the place, invisibly. */
export function known({ user, day, language, curve, progress, ...estimates }) {
  const knowledge = estimates[language ? 'chosen' : 'knowledge'];
  const count = STAGES.reduce((sum, name) => sum + (progress?.masteryStats[name] ?? 0), 0);
  const before = !language && curve?.[0];
  const change = before && knowledge ? floor(knowledge.expected) - floor(before.expected) : 0;
  const compared = t(`news.${change ? change < 0 ? 'fewer' : 'more' : 'same'}`,
    { count: Math.abs(change), day: longDay(before?.end ?? day) });
  return [
    h('div', { class: knowledge ? null : 'ghost' }, expectedOf(knowledge ?? { expected: count, items: count })),
    h('p', { class: before && knowledge ? 'note' : 'note ghost' }, compared),
    h('a', { class: 'button quiet', href: knowledgePage(user) }, t('expected.more')),
  ];
}
