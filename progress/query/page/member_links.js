// The way from a group to one of its members, back, and to the members before and after in the list that was left.

import { askEach, runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { isKnown, learnName, nameOf, visible } from './names.js';
import { LEFT, read, store } from './signed_in.js';
import { withParameter } from './past_day.js';

/** The list of this group, if the user left it last: its address and its learners' ids. Signing out forgets it. */
function leftOf(group) {
  const left = JSON.parse(read(LEFT));
  return left?.group === group ? left : null;
}

JSON.parse(read(LEFT))?.users.forEach(([user, name]) => learnName('learner', user, name)); // after a reload

export const leave = ({ users, ...list }) =>
  store(LEFT, JSON.stringify({ ...list, users: users.map((user) => [user, nameOf('learner', user)]) }));

export const learnLearners = (rows) => rows.forEach(({ userId, displayName }) =>
  learnName('learner', userId, displayName));

/** Learn the names of whoever studies, too; it leaves a trace on their records. Only staff may: others get no names. */
export async function learnNames(ids, signal) {
  const unknown = [...new Set(ids)].filter((id) => !isKnown('learner', id));
  const found = await askEach(unknown, (id) => `userProgress(${id}) { displayName }`, signal).catch(() => []);
  found.forEach((one, at) => learnName('learner', unknown[at], visible(one?.displayName) ?? unknown[at]));
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
  (nameOf('group', group) === group ? t('way.title', { group }) : nameOf('group', group));

/** The address of a group: as the user left it, if the user left it last. */
export function addressOf(group) {
  const left = leftOf(group);
  return (left?.item ? left.from : left?.hash) ?? `#/group/${encodeURIComponent(group)}`;
}

function way(group, user, item) {
  const list = leftOf(group);
  const path = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
  const at = list?.users.findIndex(([id]) => id === user) ?? -1;
  const beside = (step, text) => {
    const other = at < 0 ? null : list.users[at + step]?.[0];
    const href = other && withParameter(item ? path('item', item, other) : path('learner', other), 'group', group);
    return href && h('a', { href, rel: step < 0 ? 'prev' : 'next' }, t(text, { user: nameOf('learner', other) }));
  };
  const onPaper = h('button', { type: 'button', class: 'button quiet' }, t('way.printOne'));
  onPaper.addEventListener('click', () => print());
  const isOfItem = list?.hash.split('?')[0] === path('group', group, item ?? '');
  return h('nav', { class: 'way', 'aria-label': t('way.label'), 'data-key': 'way' },
    h('a', { class: 'back', href: addressOf(group), translate: 'no' }, groupName(group)),
    item && h('a', { class: 'back', href: isOfItem ? list.hash : path('group', group, item), translate: 'no' },
      nameOf('item', item)),
    location.hash.startsWith('#/learner/') && onPaper,
    h('span', { class: 'beside' }, beside(-1, 'way.previous'), beside(1, 'way.next')));
}
