// The weekly trend: bars of right and wrong answers, and the same numbers as a table.

import { h, s } from './dom.js';
import { count, dayAfter, days, minutes, month, number, percent, shortDay, weekdayOf } from './format.js';

const SHOWN = 26;
const NOTHING = { answers: 0, correctAnswers: 0, studyTimeMinutes: 0, activeDays: 0 };

/** The section. It ends with the present week, or with the last one that had answers. */
export function weeks(data) {
  const shown = selectWeeks(data);
  const top = roundUp(Math.max(...shown.map((week) => week.answers)));
  const hint = `A bar for each of ${shown.length} weeks; the table below has the numbers.`;
  return h('section', { class: 'card', 'aria-labelledby': 'weeks', 'data-key': 'weeks' },
    h('h2', { id: 'weeks' }, 'Answers by week'),
    h('p', { class: 'note' }, summary(shown, data)),
    h('div', { class: 'chart' },
      h('span', { class: 'most', 'aria-hidden': 'true' }, number(top)),
      s('svg', { class: 'bars', role: 'img', 'aria-label': hint },
        s('line', { class: 'rule', x1: 0, x2: '100%', y1: 1, y2: 1 }),
        shown.map((week, index) => column(week, index, shown.length, top))),
      axis(shown)),
    h('ul', { class: 'legend' },
      ['right', 'wrong'].map((name) => h('li', null,
        s('svg', { width: 12, height: 12, 'aria-hidden': 'true' },
          s('rect', { class: name, width: 12, height: 12, rx: 3 })),
        name))),
    h('details', null, h('summary', null, 'The weeks as a table'), table(shown)));
}

function selectWeeks({ day, weeks: known }) {
  const last = [...known.values()].findLast((week) => week.answers)?.start;
  const present = dayAfter(day, -weekdayOf(day));
  const recent = last && dayAfter(last, 7 * 8) >= present;
  const end = recent || !last ? present : last;
  return Array.from({ length: SHOWN }, (_, index) => {
    const start = dayAfter(end, 7 * (index - SHOWN + 1));
    return known.get(start) ?? { ...NOTHING, start, end: dayAfter(start, 6) };
  });
}

function summary(shown, { day }) {
  const answers = shown.reduce((sum, week) => sum + week.answers, 0);
  const right = shown.reduce((sum, week) => sum + week.correctAnswers, 0);
  if (!answers) return 'No answers yet. The weeks are computed every five minutes.';
  const end = shown.at(-1);
  const text = `${number(answers)} answers in ${shown.length} weeks, ${percent(right / answers)} right.`;
  if (end.end >= dayAfter(day, -7)) return text;
  return `${text} The last week of study is ${days(end.start, end.end)}.`;
}

/** The next round number, as the top of the scale. */
function roundUp(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(most, 10)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((top) => top >= most);
}

function column(week, index, total, top) {
  const x = `${(100 * (index + 0.14)) / total}%`;
  const width = `${72 / total}%`;
  const height = (value) => (96 * value) / top;
  const right = height(week.correctAnswers);
  const wrong = height(week.answers - week.correctAnswers);
  return s('g', null,
    s('title', null, `${days(week.start, week.end)}: ${describe(week)}`),
    s('rect', { class: 'hit', x: `${(100 * index) / total}%`, width: `${100 / total}%`, y: 0, height: '100%' }),
    s('rect', { class: 'wrong', x, width, y: `${100 - right - wrong}%`, height: `${wrong}%`, rx: 2 }),
    s('rect', { class: 'right', x, width, y: `${100 - right}%`, height: `${right}%`, rx: 2 }));
}

function describe({ answers, correctAnswers }) {
  if (!answers) return 'no answers';
  return `${count(answers, 'answer', 'answers')}, ${percent(correctAnswers / answers)} right`;
}

function axis(shown) {
  const firsts = shown.map((week, index) => [week, index])
    .filter(([week, index]) => index === 0 || shown[index - 1].start.slice(0, 7) !== week.start.slice(0, 7))
    .filter(([, index], at, all) => at === all.length - 1 || all[at + 1][1] - index > 1);
  return s('svg', { class: 'axis', 'aria-hidden': 'true' }, firsts.map(([week, index]) =>
    s('text', { x: `${(100 * (index + 0.14)) / shown.length}%`, y: 14 }, month(week.start))));
}

function table(shown) {
  return h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Weeks' },
    h('table', { class: 'rows' },
      h('thead', null, h('tr', null,
        ['Week of', 'Answers', 'Right', 'Time', 'Study days'].map((name, index) =>
          h('th', { scope: 'col', class: index ? 'end' : null }, name)))),
      h('tbody', null, shown.toReversed().map((week) => h('tr', null,
        h('th', { scope: 'row' }, shortDay(week.start)),
        [number(week.answers), percent(week.answers ? week.correctAnswers / week.answers : null),
          minutes(week.studyTimeMinutes), number(week.activeDays)].map((text) =>
          h('td', { class: 'end' }, text)))))));
}
