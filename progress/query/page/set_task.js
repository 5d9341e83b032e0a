// The dialogs that set words as a task of a group, assign a list to it or change the day, and take a task back.

import { openDialog, say, send, tools } from './dialogs.js';
import { h } from './dom.js';
import { dayAfter, dayOf, localDate, longDay, now, shortDay } from './format.js';
import { sentences, t } from './i18n.js';
import { level, word } from './items.js';
import { note } from './layout.js';
import { nameOf } from './names.js';
import { isDescribed } from './task_doors.js';

const SET = `mutation SetTask($group: ID!, $name: String!, $items: [ID!]!, $day: Date!, $key: ID!) {
  event: setTask(groupId: $group, name: $name, itemIds: $items, dueOn: $day, idempotencyKey: $key) { listId counted }
}`;
const ASSIGN = `mutation AssignList($group: ID!, $list: ID!, $day: Date!, $key: ID!) {
  event: assignList(groupId: $group, listId: $list, dueOn: $day, idempotencyKey: $key) { listId counted }
}`;
const UNASSIGN = `mutation UnassignList($group: ID!, $list: ID!, $key: ID!) {
  event: unassignList(groupId: $group, listId: $list, idempotencyKey: $key) { listId counted }
}`;
const MOST_WORDS = 100;
const MOST_CHARACTERS = 100; // of a name
const MOST_DAYS = 400; // from the date in UTC
const USUAL_DAYS = 7;

/** Set words as a task: by default all of them, in a week, named by the day. */
export function setTask(view, group, words) {
  const described = words.filter(isDescribed);
  const count = words.length - described.length;
  const dialog = openDialog(view, t('task.set'),
    h('fieldset', { class: 'choices' }, h('legend', null, t('items.title')),
      described.slice(0, MOST_WORDS).map((one) => h('div', null, h('label', null,
        h('input', { type: 'checkbox', name: 'word', value: one.itemId, checked: true }),
        h('span', null, word(one), level(one)))))),
    note(sentences(count > 0 && t('task.undescribed', { count }),
      described.length > MOST_WORDS && t('task.most', { most: MOST_WORDS }))),
    field('name', t('task.name'), {
      maxlength: MOST_CHARACTERS, value: longDay(localDate(now())), required: true, autocomplete: 'off',
    }),
    note(t('task.read')), dayField(), tools(t('task.set')));
  listen(dialog, (form) => {
    const [items, name] = [form.getAll('word'), form.get('name').trim()];
    if (!items.length) return say(dialog, 'problem', t('task.choose'));
    if (!name) return say(dialog, 'problem', t('task.unnamed', { most: MOST_CHARACTERS }));
    return transmit(dialog, view, SET, { group, name, items, day: form.get('day') });
  });
}

/** Assign a list, or change the day of a task. */
export function assign(view, group, { list, day }) {
  const dialog = openDialog(view, t(day ? 'task.change' : 'task.set'),
    h('p', null, nameOf('list', list)), dayField(day), tools(t('command.save')));
  listen(dialog, (form) => transmit(dialog, view, ASSIGN, { group, list, day: form.get('day') }));
}

export function takeBack(view, group, { list }) {
  const dialog = openDialog(view, t('task.back'),
    h('p', null, t('task.backMeaning', { name: nameOf('list', list) })), tools(t('task.back')));
  listen(dialog, () => transmit(dialog, view, UNASSIGN, { group, list }));
}

const field = (name, label, attributes) => h('label', { class: 'control' }, h('span', null, label),
  h('input', { name, 'aria-describedby': 'command-problem', ...attributes }));

const dayField = (day = dayAfter(localDate(now()), USUAL_DAYS)) =>
  field('day', t('tasks.day'), { type: 'date', value: day, required: true, ...bounds() });

const bounds = () => ({ min: localDate(now()), max: dayAfter(dayOf(now()), MOST_DAYS) });

/** Act when the form is sent, unless its day is out of bounds. */
function listen(dialog, act) {
  dialog.addEventListener('submit', () => {
    const { min: first, max: last } = bounds();
    const isValid = dialog.querySelector('[name=day]')?.validity.valid ?? true;
    if (isValid) act(new FormData(dialog.querySelector('form')));
    else say(dialog, 'problem', t('task.days', { first: shortDay(first), last: longDay(last) }));
  });
}

const transmit = (dialog, view, mutation, variables) =>
  send(dialog, mutation, variables, variables, view, ({ message }) =>
    say(dialog, 'problem', t('task.refused', { reason: message })));
