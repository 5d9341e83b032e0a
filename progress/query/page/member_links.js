// The way from a group to one of its members, back, and to the members before and after in the list that was left.

import { askEach, runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { learnName, nameOf, visible } from './names.js';
import { LEFT, read, store } from './signed_in.js';
import { withParameter } from './past_day.js';

// The list that the user left last: the group, the address, the ids of the learners, what was shown
let left = JSON.parse(read(LEFT));
const asked = new Set(); // the ids whose names were asked for
left?.users.forEach((user, at) => learnName('learner', user, left.names[at]));

/** Keep the list also for a reload of the tab. */
export function leave(list) {
  left = list;
  const { data, rows, ...kept } = list;
  store(LEFT, JSON.stringify({ ...kept, names: list.users.map((user) => nameOf('learner', user)) }));
}

/** The list of this address with what it showed, if the user left it last, and has not signed out. */
export const find = (hash) => (left?.data && left.hash === hash && read(LEFT) ? left : null);

export const learnLearners = (rows) => rows.forEach(({ userId, displayName }) =>
  learnName('learner', userId, displayName));

/** Learn the names of whoever studies, too; it leaves a trace on their records. Only staff may: others get no names. */
export async function learnNames(ids, signal) {
  const unknown = [...new Set(ids)].filter((id) => nameOf('learner', id) === id && !asked.has(id));
  const found = await askEach(unknown, (id) => `userProgress(${id}) { displayName }`, signal).catch(() => []);
  found.forEach((one, at) => asked.add(unknown[at]) && learnName('learner', unknown[at], one?.displayName));
}

export const named = (id) => (nameOf('learner', id) === id ? id : `${nameOf('learner', id)} (${id})`);

/** The names that several have, so that ids must tell them apart. */
export function findAlike(names) {
  const some = names.filter(Boolean);
  return new Set(some.filter((name, index) => some.indexOf(name) !== index));
}

/** A link with a name or, without one in which something is visible, the id; an alike name has the id below it. */
export const linkTo = (href, id, name, alike) => [
  h('a', { href, translate: 'no' }, visible(name) ?? id),
  alike.has(name) && h('span', { class: 'of', translate: 'no' }, id),
];

/** The function that draws the way. After a reload, the group's name is asked for first. */
export async function openWay(group, user, item) {
  if (nameOf('group', group) === group) {
    const answer = await runQuery('query Name($id: ID!) { group(groupId: $id) { name } }', { id: group })
      .catch(() => null);
    learnName('group', group, answer?.data.group?.name);
  }
  return () => way(group, user, item);
}

export const groupName = (group) =>
  (nameOf('group', group) === group ? t('group.title', { group }) : nameOf('group', group));

/** The address of a group: as the user left it, if the user left it last. */
export const addressOf = (group) =>
  (left?.group === group && !left.item ? left.hash : left?.group === group && left.from)
    || `#/group/${encodeURIComponent(group)}`;

function way(group, user, item) {
  const list = left?.group === group ? left : null;
  const path = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
  const at = list?.users.indexOf(user) ?? -1;
  const beside = (step, text) => {
    const other = at < 0 ? null : list.users[at + step];
    const href = other && withParameter(item ? path('item', item, other) : path('learner', other), 'group', group);
    return href && h('a', { href, rel: step < 0 ? 'prev' : 'next' }, t(text, { user: nameOf('learner', other) }));
  };
  const onPaper = h('button', { type: 'button', class: 'button quiet' }, t('group.printOne'));
  onPaper.addEventListener('click', () => print());
  const isOfItem = list?.hash.split('?')[0] === path('group', group, item ?? '');
  return h('nav', { class: 'way', 'aria-label': t('group.way'), 'data-key': 'way' },
    h('a', { class: 'back', href: addressOf(group), translate: 'no' }, groupName(group)),
    item && h('a', { class: 'back', href: isOfItem ? list.hash : path('group', group, item), translate: 'no' },
      nameOf('item', item)),
    location.hash.startsWith('#/learner/') && onPaper,
    h('span', { class: 'beside' }, beside(-1, 'group.previous'), beside(1, 'group.next')));
}
