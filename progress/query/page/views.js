// The views of the page. The hash of a view's URL is #/NAME/ARGUMENT/...; #/ shows the learner's own progress.

import { t } from './i18n.js';
import { Learner } from './learner.js';
import * as session from './session.js';

const ALL = ['learner', 'teacher', 'support', 'admin'];
const LANDINGS = { teacher: 'group', admin: 'administration' }; // the views of a URL without a hash

/**
 * `open(element, args, shell, parameters)` loads the view's module and resolves to a function. This function draws the
 * view and returns an object with close(). `args` are the decoded parts of the URL after the name. `parameters` are the
 * URL's parameters after the question mark. Users with one of the `roles` have a tab for the view in their navigation.
 * The tab's text has the key `view.NAME`. If a view has no tab, `tab` names another view, whose tab is marked instead.
 * `title(args)` is the document's title. If the view shows another learner, `subject(args)` is this learner's id.
 */
const VIEWS = {
  learner: {
    href: '#/',
    roles: ALL,
    title: ([user]) => user,
    subject: ([user]) => user,
    open: async (element, [user], shell) => () => new Learner(element, user || null, shell),
  },
  items: {
    href: '#/items',
    roles: ALL,
    title: () => t('items.title'),
    subject: ([user]) => user,
    open: async (element, [user], shell, parameters) => {
      const { ItemList } = await import('./item_list.js');
      return () => new ItemList(element, user || null, parameters, shell);
    },
  },
  item: {
    roles: [],
    tab: 'items',
    title: ([id]) => id,
    subject: ([, user]) => user,
    open: async (element, [id, user], shell) => {
      const { ItemPage } = await import('./item_page.js');
      return () => new ItemPage(element, id, user || null, shell);
    },
  },
  group: {
    href: '#/group',
    roles: ['teacher', 'support', 'admin'],
    title: ([group]) => group || t('view.group'),
    open: async (element, [group], shell, parameters) => {
      const { Group } = await import('./group.js');
      return () => new Group(element, group || null, parameters, shell);
    },
  },
  administration: {
    href: '#/administration',
    roles: ['admin'],
    title: () => t('view.administration'),
    open: async (element, args, shell) => {
      const { Administration } = await import('./admin.js');
      return () => new Administration(element, shell);
    },
  },
};

/**
 * The view that a URL's hash names, for example #/items/USER?filter=leech. An unknown name leads to the user's own
 * progress.
 */
export function find(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [first, ...args] = path.split('/').map(decode);
  const isKnown = Object.hasOwn(VIEWS, first);
  const name = isKnown ? first : (!hash && LANDINGS[session.role()]) || 'learner';
  const view = { tab: name, ...VIEWS[name] };
  const known = isKnown ? args : [];
  return { ...view, name, args: known, parameters: new URLSearchParams(query), other: view.subject?.(known) || null };
}

/** The views that the user's navigation shows. */
export function visible() {
  const role = session.role();
  return Object.entries(VIEWS).map(([name, view]) => ({ name, ...view })).filter((view) => view.roles.includes(role));
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
