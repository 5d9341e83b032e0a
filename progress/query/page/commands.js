// The dialogs with which learners set their own goal, take a rest day, or undo this, and what is not counted yet.

import { runQuery } from './api.js';
import { openDialog, run, say, send, tools } from './dialogs.js';
import { h, show } from './dom.js';
import { dayAfter, shortDay, weekday, weekdayOf } from './format.js';
import { join, sentences, t } from './i18n.js';

const SET_GOAL = `mutation SetGoal($answers: Int!, $key: ID!) {
  event: setGoal(answersPerDay: $answers, idempotencyKey: $key) { counted }
}`;
const TAKE_REST_DAY = `mutation TakeRestDay($day: Date!, $key: ID!) {
  event: takeRestDay(date: $day, idempotencyKey: $key) { counted }
}`;
const RETRACT = `mutation Retract($event: ID!, $key: ID!) {
  event: retractEvent(eventId: $event, idempotencyKey: $key) { counted }
}`;
const GOALS = `{
  goals: events(types: ["GoalSet"], first: 50) { edges { node { eventId retracted occurredAt data } } }
}`;
const REST_DAYS = `query RestDays($from: Date!, $to: Date!) {
  restDays(from: $from, to: $to)
  taken: events(types: ["RestDayTaken"], first: 50) { edges { node { eventId retracted data } } }
  due: dueForecast(days: 1) { date }
  streak { activeToday }
}`;

const MAX_GOAL = 1_000;
const MAX_DAYS_AHEAD = 7;
const MAX_REST_DAYS = 2; // of a week
const MAX_GOAL_AGE_MS = 86_400_000; // of a change that can be undone
const USUAL_DAYS = 28;

export const open = (command, view) => ({ goal: openGoal, rest: openRest })[command](view);

function openGoal(view) {
  const { goal } = view.data;
  const input = h('input', {
    id: 'answers-per-day', name: 'answers', type: 'number', inputmode: 'numeric', min: 1, max: MAX_GOAL,
    value: goal?.answersPerDay, autocomplete: 'off', 'aria-describedby': 'command-problem',
  });
  const usual = usualAnswers(view.data);
  const dialog = openDialog(view, t('command.goalTitle'),
    h('label', { for: 'answers-per-day' }, t('command.goalLabel')), input,
    h('p', { class: 'note' }, sentences(t('command.goalMeaning'), usual && t('command.goalUsual', { count: usual }))),
    tools(t('command.save'),
      goal && h('button', { type: 'button', class: 'button quiet', value: 'none' }, t('command.goalRemove'))),
    h('div', { class: 'undo' }));
  const set = (answers) =>
    send(dialog, SET_GOAL, { answers }, { goal: answers }, view);
  dialog.querySelector('[value=none]')?.addEventListener('click', () => set(0));
  dialog.addEventListener('submit', () => {
    const answers = Number(input.value);
    const isValid = Number.isInteger(answers) && answers >= 1 && answers <= MAX_GOAL;
    input.setAttribute('aria-invalid', String(!isValid));
    if (isValid) set(answers);
    else say(dialog, 'problem', t('command.goalBounds', { most: MAX_GOAL }));
  });
  showLastChange(dialog, view);
}

/** Offer to undo the goal's last change, and say which goal was before it. Without it, the dialog works as well. */
async function showLastChange(dialog, view) {
  const answer = await runQuery(GOALS, {}, view.closing.signal).catch(() => null);
  const [last, before] = listCounted(answer?.data.goals)
    .sort((one, other) => Date.parse(other.occurredAt) - Date.parse(one.occurredAt));
  if (!last || Date.parse(last.occurredAt) < Date.now() - MAX_GOAL_AGE_MS) return;
  const goal = before?.data.answers_per_day ?? 0;
  const button = h('button', { type: 'button', class: 'button quiet' }, t('command.goalUndo'));
  button.addEventListener('click', () => undo(dialog, view, last, { goal }));
  show(dialog.querySelector('.undo'),
    h('p', { class: 'note' }, t(goal ? 'command.goalBefore' : 'command.goalNone', { count: goal })), button);
}

/** The events that are not retracted, with their data, the last recorded first. */
const listCounted = (events) => (events?.edges ?? []).map(({ node }) => ({ ...node, data: JSON.parse(node.data) }))
  .filter(({ retracted }) => !retracted);

/** Retract an event. `change` is what the page shows then. */
const undo = (dialog, view, { eventId }, change, onRefused) =>
  send(dialog, RETRACT, { event: eventId }, { ...change, isUndone: true }, view, () => {
    say(dialog, 'problem', t('command.undoRefused'));
    onRefused?.();
  });

/** The mean number of answers on the last weeks' days with answers; 0 without one. */
function usualAnswers({ days, day }) {
  const answers = Array.from({ length: USUAL_DAYS }, (_, ago) => days.get(dayAfter(day, -ago))?.answers)
    .filter(Boolean);
  return answers.length && Math.round(answers.reduce((sum, count) => sum + count, 0) / answers.length);
}

function openRest(view) {
  const dialog = openDialog(view, t('streak.takeRest'),
    h('p', { class: 'note' }, t('command.restMeaning')),
    h('fieldset', { class: 'choices' }),
    tools(t('command.restTake')));
  dialog.addEventListener('submit', () => {
    const day = new FormData(dialog.querySelector('form')).get('day');
    if (day) send(dialog, TAKE_REST_DAY, { day }, { rest: day }, view, () => refuse(dialog, view));
    else say(dialog, 'problem', t('command.restChoose'));
  });
  showDays(dialog, view);
}

/** Show the days from today on. A day that cannot become a rest day says why. None can be taken while they load. */
async function showDays(dialog, view) {
  const days = dialog.querySelector('fieldset');
  const { day } = view.data; // may be over since the page was loaded
  const variables = { from: dayAfter(day, -7), to: dayAfter(day, 21) };
  days.disabled = true;
  const answer = await run(dialog, view, t('states.loading'), () => runQuery(REST_DAYS, variables));
  days.disabled = false;
  if (!answer) return;
  const { due: [{ date: today }], restDays, streak } = answer.data;
  const events = listCounted(answer.data.taken);
  const choices = Array.from({ length: MAX_DAYS_AHEAD + 1 }, (_, ahead) => {
    const choice = dayAfter(today, ahead);
    const why = refusal(choice, restDays);
    const hint = why ?? (choice === today && streak.activeToday && t('command.restStudied'));
    const name = t(choice === today ? 'command.restToday' : 'command.restOn', {
      day: shortDay(choice), weekday: weekday(choice, 'long') });
    const event = restDays.includes(choice) && events.find(({ data }) => data.date === choice);
    return h('div', null,
      h('label', null,
        h('input', { type: 'radio', name: 'day', value: choice, disabled: Boolean(why) }),
        h('span', null, name, hint && h('small', null, hint))),
      event && undoRest(dialog, view, event, name));
  });
  show(days, h('legend', { class: 'unseen' }, t('glossary.words.restDay')), choices);
  dialog.querySelector('[name=day]:enabled')?.focus();
}

function undoRest(dialog, view, event, name) {
  const button = h('button', { type: 'button', class: 'button quiet', 'data-key': event.eventId },
    t('command.restUndo'), h('span', { class: 'unseen' }, ' ', name));
  button.addEventListener('click', () =>
    undo(dialog, view, event, { rest: event.data.date }, () => showDays(dialog, view)));
  return button;
}

/** Say that the day was refused; the days may have changed since they were loaded. */
function refuse(dialog, view) {
  say(dialog, 'problem', t('command.refused'));
  showDays(dialog, view);
}

/** Why the day cannot become a rest day, or null. */
function refusal(day, taken) {
  if (taken.includes(day)) return t('command.restTaken');
  const monday = dayAfter(day, -weekdayOf(day));
  const week = taken.filter((other) => other >= monday && other <= dayAfter(monday, 6));
  return week.length < MAX_REST_DAYS ? null : t('command.restFull', { days: join(week.map(shortDay)) });
}
