// The section "Today": the sentence, the card "What next", the streak, and what is due.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerWith, dayIn, inHours, learner, page, pageIn, range, stages, textsOf } from './page.mjs';

const HOUR_MS = 3_600_000;
const END = '2024-03-12T04:00:00Z'; // of the learner's day
const dueOn = (items) => range(29, (ahead) => ({ date: dayIn(ahead), items: items(ahead) }));

/** Return the function that draws the section for a learner, and gives what it says. */
async function screens(language) {
  const { learnToday, speakOf, today } = await pageIn({ language }, 'i18n', 'past_day', 'today');
  document.querySelector = () => ({ content: 'https://app.example?{filter}&{list}' });
  answerWith(() => ({ today: [{ date: dayIn(0) }], d1: { date: dayIn(0), end: END } }));
  await learnToday(null);
  const row = (answers, studySeconds, newMasteryCount = 0) => ({
    answers, studySeconds, newMasteryCount, correctAnswers: answers, sessionsCompleted: 0 });
  return ({
    due = 0, ahead = 0, fading = 0, fresh = 0, pace = 20, goal = null, answers = 0, seconds = 0, current = 3,
    hours = 12, rests = false, longest = 0, run = [], mastered = 0, slipped = 0, usual = 900, day = dayIn(0),
    tasks = [], more = {}, user = null,
  }) => {
    speakOf(user);
    Date.now = () => Date.parse(END) - HOUR_MS * hours;
    const days = new Map(run.map((ago) => [dayIn(-ago), row(1, usual)]));
    if (mastered) days.set('2024-03-11', row(9, usual, mastered));
    if (answers) days.set(day, row(answers, seconds, mastered));
    const section = today(learner({
      day, days, user, isOwn: !user, knowledge: { items: 9, fading }, workload: { secondsPerAnswer: pace },
      due: dueOn((n) => (n ? ahead : due)), week: [{ slippedBack: slipped }], slipped: { totalCount: slipped },
      tasks: { edges: tasks.map(([until, known, knownNow = known, expected = null], at) => ({ node: {
        listId: `u${7 - at}`, listName: `Unit ${7 - at}`, items: 40, known, knownNow, expected,
        dueOn: dayIn(until) } })) },
      goal: goal && { answersPerDay: goal, answersToday: answers, daysMet7: 2, week: Array(7).fill(false) },
      streak: {
        current: current || Number(answers > 0), activeToday: answers > 0, restToday: rests,
        atRisk: !answers && current > 0 && !rests, lastStudyDate: dayIn(-2),
        ...longest && { longest, longestEnd: dayIn(-2) } },
      progress: {
        masteryStats: { ...stages(9), unlearned: fresh }, totalItemsLearned: 412, displayName: user && 'Lena' },
      ...more }));
    const [card, streak] = section.children.filter(({ attributes }) => attributes.class?.includes('tile'));
    const news = section.find('news');
    return {
      sentence: news.textContent,
      card: textsOf(card.children.slice(1)).filter(Boolean).join(', '),
      classes: [card, section.find('app')].map((one) => one?.attributes.class),
      streak: streak.textContent,
      links: news.tags('a').map(({ attributes }) => attributes.href.split('?')[1]),
      door: section.find('app')?.attributes.href.split('?')[1],
    };
  };
}

const FULL = ['card tile next', 'button'];
const RESTS = ['card tile next rests', 'button quiet'];
const MANY = 'Repeat the first 45 of 225 due words in 15 minutes.';
const FEW = '3 due today, about 1 minute, Start now';
const REPEAT_3 = 'Repeat 3 due words (1 minute).';
const LEARNED = 'Unit 7: 31 of 40 learned, until';
const OF_TASK = '9 left of the task, Open the app';
const LAST_DAY = `${LEARNED} the end of today. 9 words left.`;
const NOTHING = 'Nothing is due or fading.';
const NO_PAIR = { languages: [{ language: 'und', kinds: 2 }] }; // of own words
const LEARN = 'Nothing is due or fading: learn new words for 15 minutes.';
const ENOUGH = '45 wait until tomorrow, Enough for today, Open the app';
const STREAK = '1 answer for the streak, Open the app';
const CAUGHT_UP = '0 due today, All caught up, Open the app';
const ONE_ANSWER = 'One answer makes it 4 days in a row.';

// The learner, the sentences, the card "What next", and the classes of the card and its button.
const CASES = [
  [{ current: 0 }, NOTHING, CAUGHT_UP, RESTS],
  [{}, `${NOTHING} ${ONE_ANSWER}`, STREAK, FULL],
  [{ due: 45, rests: true }, '45 wait until tomorrow.', ENOUGH, RESTS],
  [{ due: 52, fading: 6, pace: 7 }, 'Repeat 52 due words (7 minutes).', '52 due today, about 7 minutes, Start now',
    FULL],
  [{ due: 1, pace: null }, 'Repeat 1 due word.', '1 due today, Start now', FULL],
  [{ fading: 1, fresh: 9 }, '1 word is fading: repeat it (1 minute).', '1 fading, about 1 minute, Start now', FULL],
  [{ fading: 50 }, '50 words are fading: save the 45 weakest in 15 minutes.',
    '50 fading, The 45 weakest in 15 minutes, Start now', FULL],
  // Nearly all is all.
  [{ fading: 49 }, '49 words are fading: repeat them (17 minutes).', '49 fading, about 17 minutes, Start now', FULL],
  [{ due: 149, pace: 5.2, usual: 770, run: [3] }, 'Repeat 149 due words (13 minutes).',
    '149 due today, about 13 minutes, Start now', FULL],
  [{ due: 200, pace: 5 }, 'Repeat the first 180 of 200 due words in 15 minutes.',
    '200 due today, Done in 2 days at 15 minutes a day, Start now', FULL],
  [{ due: 199, pace: 5 }, 'Repeat 199 due words (17 minutes).', '199 due today, about 17 minutes, Start now', FULL],
  [{ fresh: 9 }, LEARN, '15 minutes of new words, Open the app', FULL],
  // The new words are those of the lists.
  [{ answers: 20, current: 1, fresh: 9, more: { ...NO_PAIR, unmet: 0 } },
    `Today: 20 answers. A streak of 1 day. ${NOTHING}`, CAUGHT_UP, RESTS],
  [{ fresh: 0, more: { ...NO_PAIR, unmet: 1 } }, LEARN, '15 minutes of new words, Open the app', FULL],
  [{ goal: 200 }, 'Nothing is due or fading: 200 answers to the goal.', '200 answers to the goal, Open the app', FULL],
  [{ due: 225, ahead: 60 }, MANY,
    '225 due today, At 15 minutes a day, this takes more than four weeks, Start now', FULL],
  // A whole quotient: 49 words in 900 s.
  [{ due: 98, pace: 900 / 49 }, 'Repeat the first 49 of 98 due words in 15 minutes.',
    '98 due today, Done in 2 days at 15 minutes a day, Start now', FULL],
  // Thirty minutes are enough for 60 items.
  [{ due: 60, ahead: 5, pace: 30, run: [3], usual: 1800 }, 'Repeat 60 due words (30 minutes).',
    '60 due today, about 30 minutes, Start now', FULL],
  [{ due: 100, ahead: 5, pace: 30, run: [3], usual: 1800 }, 'Repeat the first 60 of 100 due words in 30 minutes.',
    '100 due today, Done in 2 days at 30 minutes a day, Start now', FULL],
  [{ due: 225, answers: 9, goal: 20 }, `Today: 9 answers. 3 days in a row. 11 answers to the goal. ${MANY}`,
    '225 due today, Done in 5 days at 15 minutes a day, Start now', FULL],
  [{ due: 9, answers: 12, goal: 200, mastered: 2, slipped: 1 },
    'Today: 2 newly mastered, 1 slipped back. 3 days in a row. 188 answers to the goal. 9 are still due (3 minutes).',
    '9 due today, about 3 minutes, Start now', FULL],
  [{ due: 45, answers: 20, goal: 20, current: 25 },
    'Today: 20 answers. 25 days in a row. Goal met. 45 wait until tomorrow.', ENOUGH, RESTS],
  [{ due: 45, answers: 20, seconds: 901, current: 1 },
    'Today: 20 answers. A streak of 1 day. 45 wait until tomorrow.', ENOUGH, RESTS],
  // Enough says what comes, as the forecast does.
  [{ due: 45, rests: true, ahead: 123, pace: 13 }, '45 wait until tomorrow.',
    ENOUGH.replace('today,', 'today, Tomorrow: 123, about 27 minutes,'), RESTS],
  [{ due: 45, rests: true, ahead: 1230, pace: 13 }, '45 wait until tomorrow.',
    ENOUGH.replace('today,', 'today, Tomorrow: 1,230, about 4h 27m,'), RESTS],
  [{ due: 45, rests: true, ahead: 1, pace: null }, '45 wait until tomorrow.',
    ENOUGH.replace('today,', 'today, Tomorrow: 1,'), RESTS],
  [{ answers: 1, ahead: 3 }, `Today: 1 answer. 3 days in a row. ${NOTHING}`,
    '0 due today, All caught up, Next: 3 words on Tuesday, Open the app', RESTS],
  [{ due: 3, hours: 2.9 }, `${REPEAT_3} 2 hours left today: one answer makes it 4 days in a row.`, FEW, FULL],
  [{ due: 3, hours: 0.999 }, `${REPEAT_3} 59 minutes left today: one answer makes it 4 days in a row.`, FEW, FULL],
  [{ due: 3, hours: 0.004 }, `${REPEAT_3} Less than a minute left today: one answer makes it 4 days in a row.`, FEW,
    FULL],
  // The study days are those of all streaks.
  [{ due: 3, current: 0, run: [2, 3, 4, 6, 9] }, 'Your streak has ended after 3 days in a row. '
    + `It all stays: 5 study days, 412 words learned. ${REPEAT_3}`, FEW, FULL],
  // The page has not loaded all of its days.
  [{ due: 3, current: 0, run: [2, 3, 4], longest: 420 }, 'Your streak has ended after 420 days in a row. '
    + `It all stays: 420 study days, 412 words learned. ${REPEAT_3}`, FEW, FULL],
  // It was said yesterday.
  [{ due: 3, current: 0, run: [3, 4] }, REPEAT_3, FEW, FULL],
  // A task that ends today comes before all else.
  [{ due: 3, tasks: [[0, 31]] }, LAST_DAY, OF_TASK, FULL],
  [{ fading: 1, tasks: [[0, 31]] }, LAST_DAY, OF_TASK, FULL],
  [{ due: 45, rests: true, tasks: [[0, 31]] }, LAST_DAY, OF_TASK, FULL],
  [{ due: 225, answers: 20, goal: 20, tasks: [[9, 31], [0, 31]] },
    `${LAST_DAY.replace('Unit 7', 'Unit 6')} Today: 20 answers. 3 days in a row. Goal met.`, OF_TASK, FULL],
  [{ due: 3, mastered: 2, day: '2024-03-14', tasks: [[3, 31]] },
    `${LAST_DAY} Since Monday: 2 newly mastered.`, OF_TASK, FULL],
  [{ due: 3, tasks: [[0, null]] }, `Unit 7: 40 words, until the end of today. ${REPEAT_3}`, FEW, FULL],
  // Another one comes before the goal and new words.
  [{ due: 45, rests: true, tasks: [[1, 31]] }, `45 wait until tomorrow. ${LEARNED} Tuesday. 9 words left, 1 day: 9 a day.`,
    ENOUGH, RESTS],
  [{ fading: 1, tasks: [[6, 31]] }, `1 word is fading: repeat it (1 minute). ${LEARNED} Sunday. 9 words left, 6 days: 2 a day.`,
    '1 fading, about 1 minute, Start now', FULL],
  [{ goal: 200, fresh: 9, tasks: [[7, 31]] }, `${LEARNED} 18 Mar. 9 words left, 7 days: 2 a day.`, OF_TASK, FULL],
  // The estimate is never more than the API says.
  [{ goal: 200, tasks: [[3, 31, 31, 29.99]] },
    'Unit 7: 31 of 40 learned; about 29 will be remembered on Thursday. 9 words left, 3 days: 3 a day.', OF_TASK, FULL],
  [{ due: 3, tasks: [[0, 31, 31, 29.5]] },
    'Unit 7: 31 of 40 learned; about 29 will be remembered at the end of today. 9 words left.', OF_TASK, FULL],
  [{ due: 3, tasks: [[-2, 31, 33, 30.2]] },
    `${REPEAT_3} Unit 7: 31 of 40 learned until 9 Mar, 33 by now.`, FEW, FULL],
  // It is done, has too many words, or was missed.
  [{ tasks: [[400, 40], [0, 40]] }, `${NOTHING} ${ONE_ANSWER}`, STREAK, FULL],
  [{ tasks: [[4, null]] }, `${NOTHING} Unit 7: 40 words, until Friday. ${ONE_ANSWER}`, STREAK, FULL],
  [{ due: 3, tasks: [[1, 40], [-1, 30, 31], [-3, 31], [-4, 31]] }, `${REPEAT_3} Unit 6: 30 of 40 learned until `
    + '10 Mar, 31 by now. Unit 5: 31 of 40 learned, until 8 Mar.', FEW, FULL],
  [{ current: 0, tasks: [[-1, 31]] }, `${LEARNED} 10 Mar.`, OF_TASK, FULL],
  [{ current: 0, tasks: [[-1, 31, 40], [-2, null], [-4, 31]] }, NOTHING, CAUGHT_UP, RESTS],
];

test('the sentence and the card have one task in each case', async () => {
  const screen = await screens();
  for (const [given, ...expected] of CASES) {
    const { sentence, card, classes } = screen(given);
    assert.deepEqual([sentence, card, classes], expected);
  }
});

// What is said of the learner to others, in English and in Japanese, and to the learner in Japanese.
const SAID = [
  [{ due: 3, current: 0, run: [2, 3, 4, 6, 9], pace: null },
    'Lena’s streak has ended after 3 days in a row. It all stays: 5 study days, 412 words learned. '
      + '3 due words to repeat.',
    'Lenaさんの連続記録は3日で終わりました。これまでに学習した5日と覚えた単語412語は残ります。復習が3語あります。',
    '連続記録は3日で終わりました。これまでに学習した5日と覚えた単語412語は残ります。3語を復習しましょう。'],
  [{ due: 225 }, '225 due words to repeat, the first 45 of them in 15 minutes.',
    '復習が225語あります。最初の45語は15分でできます。', '復習225語のうち、最初の45語を15分で復習しましょう。'],
  [{ fading: 1 }, '1 word is fading (1 minute).',
    '1語を忘れかけています（1分）。', '1語を忘れかけています。復習しましょう（1分）。'],
  [{ fading: 60 }, '60 words are fading, the 45 weakest of them in 15 minutes.',
    '60語を忘れかけています。特に弱い45語の復習は15分でできます。', '60語を忘れかけています。弱い45語から15分で取り戻しましょう。'],
  [{ fresh: 9 }, 'Nothing is due or fading: new words for 15 minutes.',
    '復習も忘れかけている単語もありません。次は新しい単語を15分です。',
    '復習も忘れかけている単語もありません。新しい単語を15分学習しましょう。'],
];
const TO_LEARNERS = /\byours?\b|\byou\b|\b(?:repeat|save|learn) [a-z\d]|あなた|ましょう/i;


for (const language of ['en-GB', 'ja']) {
  test(`the page speaks to the learner, and to others about the learner: ${language}`, async () => {
    const screen = await screens(language);
    for (const [given, english, japanese, own] of SAID) {
      const said = screen({ ...given, user: 'ann' }).sentence;
      assert.equal(said, language === 'ja' ? japanese : english);
      if (language === 'ja') assert.equal(screen(given).sentence, own);
    }
    for (const given of [...CASES, ...SAID].map(([one]) => ({ ...one, user: 'ann' }))) {
      const { sentence, card, streak } = screen(given);
      assert.doesNotMatch(`${sentence} | ${card} | ${streak}`, TO_LEARNERS);
    }
  });
}

test('each number of the news and the app lead to the words', async () => {
  const screen = await screens();
  const given = { due: 9, mastered: 14, slipped: 3, day: '2024-03-14' };
  const { sentence, links } = screen(given);
  assert.equal(sentence, 'Since Monday: 14 newly mastered, 3 slipped back. Repeat 9 due words (3 minutes).');
  const happened = (days) => ['newly_mastered', 'slipped_back'].map((filter) => `filter=${filter}${days}`);
  assert.deepEqual(links, [...happened('&from=2024-03-11&to=2024-03-14'), 'filter=due']);
  assert.deepEqual(screen({ ...given, answers: 9 }).links,
    [...happened('&from=2024-03-14&to=2024-03-14'), 'filter=due']);
  assert.deepEqual(screen({ fading: 2 }).links, ['filter=fading']);
  const doors = [{ due: 9 }, { fading: 2 }, { tasks: [[0, 31]] }, {}].map((learner) => screen(learner).door);
  assert.deepEqual(doors, ['DUE&', 'FADING&', '&u7', '&']);
});

// What a card may name, what the sentence says exactly then, and whether the card and its button rest.
const NAMED = {
  'en-GB': [
    [/[1-9][\d,]* due today/, /due word|still due/], [/\d fading/, /fading: (?!learn|\d)/],
    [/of new words/, /learn new words/], [/until tomorrow/, /until tomorrow/, RESTS],
    [/to the goal/, /fading: \d/], [/\b0 due today/, /fading\.(?!.*answer makes)|more is due/, RESTS],
    [/for the streak/, /fading\. .*ne answer makes it/],
    [/of the task/, /^(?!.*(?:due|fading|new words|wait)).*31 of 40 learned/],
  ],
  ja: [
    [/今日の復習[1-9]/, /\d語を復習|復習はあと|復習[\d,]+語のうち/], [/忘れかけ\d/, /忘れかけています/],
    [/新しい単語を\d/, /新しい単語を\d/], [/明日でよい復習/, /明日でかまいません/, RESTS],
    [/目標まで/, /目標まで\d+問です/], [/今日の復習0/, /ありません。(?!新しい|目標|.*1問で)|すべて終わりました/, RESTS],
    [/連続記録まで/, /ありません。(?!新しい|目標).*1問で連続/],
    [/課題はあと/, /^(?!.*(?:復習|忘れ|新しい|明日)).*40語中31語/],
  ],
};
const LEFT = /(?:\d+ \w+|Less than a minute) left today|今日はあと\d+(?:時間|分(?:未満)?)/g;
const TIME = /\d+h \d+m|\d+ minutes?|\d+時間\d*分?|\d+分/g;
const isOne = (texts) => new Set(texts).size <= 1;

for (const [language, named] of Object.entries(NAMED)) {
  test(`no two texts of a drawn screen name different tasks or minutes: ${language}`, async () => {
    const screen = await screens(language);
    let seed = 86;
    const draw = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const either = (...some) => some[Math.floor(some.length * draw())];
    for (let screens = 0; screens < 1000; screens += 1) {
      const { sentence, card, classes, streak } = screen({
        due: either(0, 0, 1, 9, 52, 1205), ahead: either(0, 9, 90), fresh: either(0, 50),
        fading: either(0, 0, 1, 6, 225), pace: either(null, 0.4, 7, 21.5, 60), goal: either(null, null, 5, 200),
        answers: either(0, 0, 4, 40, 250), seconds: either(0, 700, 4000), usual: either(300, 900, 4000),
        current: either(0, 1, 4), rests: either(false, false, false, true),
        tasks: either([], [], [[0, 31]], [[4, 31]], [[4, null]], [[4, 40]], [[-2, 31]]), run: either([], [1], [2, 3]),
        hours: either(0.001, 0.3, 0.9, 2.5, 5, 9) });
      const where = `${sentence} | ${card} | ${streak}`;
      assert(isOne((sentence + streak).match(LEFT)), where);
      assert(isOne((sentence.replace(LEFT, '') + card).match(TIME)), where);
      const shown = named.filter(([name]) => name.test(card));
      assert.equal(shown.length, 1, where);
      for (const [name, said] of named) assert.equal(said.test(sentence), name.test(card), where);
      assert.deepEqual(classes, shown[0][2] ?? FULL, where);
    }
  });
}

test('the next due day is a weekday only up to six days ahead', async () => {
  const { today } = await page('today');
  for (const [next, counts, said] of [
    [6, {}, /3 words on Sunday/], [7, {}, /3 words on 18 Mar/],
    [30, { shortTermMastered: 1 }, /falls due in the next 28 days/],
    [30, { longTermMastered: 1 }, /falls due in the next 28 days/], [30, {}, /^(?!.*(?:Next|falls due))/],
  ]) {
    const progress = { masteryStats: { ...stages(0), ...counts } };
    assert.match(today(learner({ progress, due: dueOn((n) => (n === next ? 3 : 0)) })).textContent, said);
  }
});

test('events that are being counted are mentioned in a pill', async () => {
  const { today } = await page('today');
  const tiles = (secondsBehind) => textsOf(today(learner({
    projections: [{ name: 'daily_stats', eventsBehind: 3, secondsBehind }] })).children);
  const told = (text) => text.includes('3 recorded events are still being counted.');
  assert.deepEqual(tiles(9).map(told), [false, false, false, false, false, true]);
  assert.deepEqual(tiles(1).filter(told), []);
});

test('an equal number of known words is no change', async () => {
  const { known } = await page('news');
  const data = { day: '2024-03-11', knowledge: { expected: 14.2, items: 20, fading: 0 } };
  for (const [expected, said] of [[13.9, '1 more than'], [14.9, 'as many as'], [15, '1 fewer than']]) {
    const [, compared] = known({ ...data, curve: [{ end: '2024-02-18', expected }] });
    assert.equal(compared.textContent, `${said} on 18 February 2024`);
  }
});

for (const [end, zone, ...levels] of [
  [END, 'Asia/Tokyo', 0, 0, 1, 1, 1, 2],
  // At midnight in UTC ends the day of a learner without preferences, too.
  ['2024-03-12T00:00:00Z', 'UTC', 0, 1, 2, 2, 0, 0],
  ['2024-03-12T00:00:00Z', 'America/New_York', 0, 0, 1, 1, 1, 2],
  ['2024-03-12T00:00:00Z', 'Asia/Shanghai', 2, 0, 0, 0, 0, 0],
]) {
  test(`the streak is calm until six hours and warns in three: ${end} in ${zone}`, async () => {
    const { learnToday, today, urgency } = await pageIn({ zone }, 'past_day', 'today');
    answerWith(() => ({ today: [{ date: '2024-03-11' }], d1: { date: '2024-03-11', end } }));
    await learnToday(null);
    for (const [index, hours] of [14, 20, 22.5, 23, 25, 27].entries()) {
      Date.now = () => Date.parse('2024-03-11T00:00:00Z') + HOUR_MS * (hours - 0.5);
      const section = today(learner({ day: '2024-03-11', streak: { current: 4, atRisk: true } }));
      const count = (style) => section.all.filter(({ attributes }) => attributes.class === style).length;
      const left = Number(section.textContent.match(/(\d+) hours? left/)?.[1] ?? 0);
      const level = levels[index];
      assert.deepEqual([urgency(), count('mark warn'), count('emblem lit')], [level, Number(level === 2), 0]);
      assert(left <= 6);
    }
  });
}

test('the page says for a week what a study day is now', async () => {
  const { today } = await page('today');
  for (const [changedAt, isTold] of [[inHours(-24 * 6), true], [inHours(-24 * 8), false], [null, false]]) {
    const { textContent } = today(learner({ projections: [{ name: 'learning_streaks', changedAt }] }));
    assert.equal(textContent.includes('A day with answers is a study day now.'), isTold);
  }
});

test('the minutes for the due items are rounded up exactly', async () => {
  const { today } = await page('today');
  const days = new Map([[dayIn(-1), { studySeconds: 3600, answers: 1, correctAnswers: 1 }]]);
  for (const items of [7, 19, 999]) {
    for (const answers of [items, 13 * items, 700 * items]) {
      for (const minutes of [1, 7, 15, 58]) {
        for (const change of [-1, 0, 1]) { // without a change, the due items take a whole number of minutes
          const ms = Math.floor((minutes * answers * 60_000) / items) + change;
          const workload = { secondsPerAnswer: ms / (answers * 1000) };
          const { textContent } = today(learner({ days, workload, due: [{ date: dayIn(0), items }] }));
          const expected = Math.ceil((items * ms) / (answers * 60_000));
          assert.equal(Number(textContent.match(/about (\d+) minutes?/)[1]), expected, `${items} in ${ms} ms`);
        }
      }
    }
  }
});

test('a day without due items takes no minutes', async () => {
  const { when } = await page('when_section');
  const due = [1, 0].map((items, ahead) => ({ date: dayIn(ahead), items }));
  const progress = { masteryStats: stages(0), totalItemsLearned: 0 };
  const { textContent } = when(learner({ due, progress, workload: { secondsPerAnswer: 5 } }), {});
  assert.match(textContent, /11m/);
  assert.match(textContent, /00m/);
  assert.doesNotMatch(textContent, /-0/);
});

test('an item is overdue from the next day of the learner on', async () => {
  const times = ['2024-03-09T23:30:00Z', '2024-03-10T23:30:00Z', '2024-03-11T00:30:00Z', '2024-03-11T03:00:00Z', null];
  for (const zone of ['America/New_York', 'Pacific/Auckland']) {
    const { due } = await pageIn({ zone }, 'items');
    Date.now = () => Date.parse('2024-03-11T01:00:00Z');
    const shown = (today) => times.map((dueAt) => due({ dueAt, dueOn: dueAt && dueAt.slice(0, 10) }, today));
    assert.deepEqual(shown('2024-03-11'), ['2 days overdue', '1 day overdue', 'today', 'in 2 hours', '–']);
    // Now, the learner's day starts later than the calendar's.
    assert.deepEqual(shown('2024-03-10'), ['1 day overdue', 'today', 'today', 'in 2 hours', '–']);
    assert.equal(due({ dueAt: times[0], dueOn: '2024-03-09', inPlay: false }, '2024-03-11'), '–');
  }
});
