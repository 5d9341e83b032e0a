// The buttons that set words or a list as a task of a group, change its day or take it back. Teachers, support and
// administrators have them, about the group whose page is shown or from which a learner is shown.

import { h } from './dom.js';
import { t, withTexts } from './i18n.js';
import { addressOf } from './member_links.js';
import { nameOf, shownGroup } from './names.js';
import { pastDay } from './past_day.js';
import * as session from './signed_in.js';

/** The group of the tasks that the user may set on the page of a learner; null if there is none. */
export function groupOfTasks() {
  const [only, another] = session.groups();
  if (pastDay() || session.role() === 'learner') return null;
  return shownGroup() ?? (another ? null : only ?? null);
}

/** Whether the catalogue probably has the item; only such words can be in a task. */
export const isDescribed = ({ headword, level, language, own }) =>
  !own && Boolean(headword || language || (level ?? 'UNKNOWN') !== 'UNKNOWN');

/** A button that sets words as a task; `key` tells them apart from others of the view. Nothing without a word. */
export const setDoor = (key, words) => words.some(isDescribed) && named('task', key, t('task.set'));

export const assignDoor = (list) => named('assign', list, t('task.set'));

/** The buttons of a task; unseen, they have the list's name, which the page has learned. */
export const taskDoors = (list, dueOn) => h('div', { class: 'tools' },
  named('assign', list, t('task.change'), nameOf('list', list), dueOn),
  named('unassign', list, t('task.back'), nameOf('list', list)));

const named = (kind, list, text, name, day) => h('button', {
  type: 'button', class: 'button quiet', [`data-${kind}`]: list, 'data-key': `${kind}-${list}`, 'data-day': day,
}, text, name && h('span', { class: 'unseen' }, ' ', name));

/** Let a view's buttons open their dialogs. `wordsOf` returns the words that the key of `setDoor` stands for. */
export function listenForTasks(view, group, wordsOf = () => []) {
  const open = (how, what) => view.use(async () => {
    const dialogs = await withTexts(import('./set_task.js'));
    if (!view.closing.signal.aborted) dialogs[how]({ shell: view.shell, changed }, group(), what);
  });
  view.on('click', ({ target }) => {
    const door = target.closest('[data-task], [data-assign], [data-unassign]');
    const { task, assign, unassign, day } = door?.dataset ?? {};
    if (task) open('setTask', wordsOf(task));
    if (assign) open('assign', { list: assign, day });
    if (unassign) open('takeBack', { list: unassign });
  });

  /** Show the task or, once it is taken back, the group. */
  function changed({ day }, isCounted, { listId }) {
    view.shell.announce(t(isCounted ? 'sent.saved' : 'sent.waiting'));
    if (view.closing.signal.aborted) return;
    const path = ['group', group(), 'task', listId].map(encodeURIComponent).join('/');
    const to = day ? `#/${path}` : addressOf(group());
    if (view.showTasks) view.showTasks();
    else if (location.hash === to) view.load();
    else if (isCounted) location.hash = to;
  }
}
