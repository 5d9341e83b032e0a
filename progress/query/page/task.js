// What to do now: one decision. The sentence above the page and the card "What next" take all their words from it.

const FULL = { style: 'next', button: 'next.start' };
const RESTS = { style: 'next rests', button: 'next.open' };

/**
 * The cases. A name says what to do now and with what: `said` is the sentence, `figure` the card's large number, `note`
 * what stands below it, `style` the card's colour, and `button` the text of its button. All but `style` are keys of
 * texts; the button of a card that rests is small.
 */
const CASES = {
  'nothing none': { said: 'news.none', figure: 'next.due', note: 'next.caughtUp', ...RESTS },
  'begin due': { said: 'news.repeat', figure: 'next.due', note: 'next.time', ...FULL },
  'begin fading': { said: 'news.few', figure: 'next.fading', note: 'next.time', ...FULL },
  'begin new': { said: 'news.learn', figure: 'next.new', ...FULL, button: 'next.open' },
  'begin goal': { said: 'news.goal', figure: 'next.goal', ...FULL, button: 'next.open' },
  'go on due': { said: 'news.stillDue', figure: 'next.due', note: 'next.time', ...FULL },
  'go on fading': { said: 'news.few', figure: 'next.fading', note: 'next.time', ...FULL },
  'go on new': { said: 'news.learn', figure: 'next.new', ...FULL, button: 'next.open' },
  'go on goal': { said: 'news.goal', figure: 'next.goal', ...FULL, button: 'next.open' },
  'too much due': { said: 'news.first', figure: 'next.due', note: 'next.plan', ...FULL },
  'too much fading': { said: 'news.many', figure: 'next.fading', note: 'next.first', ...FULL },
  'done due': { said: 'news.wait', figure: 'next.wait', note: 'next.enough', ...RESTS },
  'done none': { said: 'news.done', figure: 'next.due', note: 'next.caughtUp', ...RESTS },
};

/**
 * Decide. `due` has the numbers of words that are due today and on each day ahead; `fading` and `fresh` are numbers of
 * words; `pace` is the seconds per answer, null if unknown. `usual` is the learner's minutes of a day, `spent` those of
 * today. `left` is the milliseconds until the day ends, `urgency` how little that is, from 0 to 2. `ended` is the
 * length of a streak that ended yesterday, else 0, and `learned` the number of words that stay.
 *
 * Return the case's row, the values of its texts, the text of the time that is left, if it is little, and the sentence.
 * A text is [key, values], and so may be a value.
 */
export function decide({
  due: [due, ...ahead], fading, fresh, pace, usual, spent, goal, streak, left, urgency, ended, learned,
}) {
  const { activeToday, atRisk, current } = streak;
  const toGoal = goal && Math.max(0, goal.answersPerDay - goal.answersToday);
  const isEnough = goal ? toGoal === 0 : activeToday && spent >= usual;
  const open = due ? 'due' : fading ? 'fading' : fresh && spent < usual ? 'new' : toGoal ? 'goal' : 'none';
  const task = !isEnough ? open : due ? 'due' : 'none';
  const count = { due, fading, goal: toGoal }[task] ?? 0;
  const first = pace ? Math.max(1, Math.floor((60 * usual) / pace + 1e-9)) : Infinity;
  const isOfWords = ['due', 'fading'].includes(task) && !isEnough;
  const what = isEnough || (task === 'none' && activeToday) ? 'done'
    : task === 'none' ? 'nothing' : isOfWords && count > first ? 'too much' : activeToday ? 'go on' : 'begin';
  const row = CASES[`${what} ${task}`];
  const minutes = task === 'new' || what === 'too much' ? usual : isOfWords && pace ? toMinutes(count * pace) : null;
  const values = { task, count, first, minutes };
  const days = row.note === 'next.plan' && daysOfPlan([due, ...ahead], (60 * usual) / pace);
  const hours = urgency && atRisk ? timeLeft(left) : null;
  return {
    ...row, values, hours,
    note: row.note && (row.note !== 'next.time' || minutes)
      && [days === null ? 'next.grows' : row.note, { ...values, count: days || count }],
    sentence: [
      ended && ['news.ended', { count: ended, words: ['milestones.kinds.ITEMS_LEARNED', { count: learned }] }],
      activeToday && ['news.streak', { count: current }],
      activeToday && goal && task !== 'goal' && [toGoal ? 'news.unmet' : 'news.met', { count: toGoal }],
      [row.said, values],
      urgency > 1 && atRisk && [hours ? 'news.last' : 'news.open', { count: current + 1, left: hours }],
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
  const last = due.findIndex((items) => (left = Math.max(0, left + items - capacity)) === 0);
  return last < 0 ? null : last + 1;
}
