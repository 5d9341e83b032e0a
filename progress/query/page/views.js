// The views of the page. A view is at #/NAME/ARGUMENT/..., and the learner's own progress is at #/.

import { t } from './i18n.js';
import { Learner } from './learner.js';
import * as session from './session.js';

/**
 * `open(element, args, shell)` loads the view's module and resolves to a function that draws the view and returns an
 * object with close(). `args` are the decoded parts of the URL after the name. `roles` are those whose navigation shows
 * the view, under the text `view.NAME`. `title(args)` is the document's title.
 */
const VIEWS = {
  learner: {
    href: '#/',
    roles: ['learner', 'teacher', 'support', 'admin'],
    title: ([user]) => user,
    open: async (element, [user], shell) => () => new Learner(element, user || null, shell),
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

/** The view of a URL's hash, with its name and arguments. An unknown name leads to the learner's own progress. */
export function find(hash) {
  const [, ...path] = hash.split('/');
  const isKnown = Object.hasOwn(VIEWS, path[0] ?? '');
  const name = isKnown ? path[0] : 'learner';
  return { name, args: isKnown ? path.slice(1).map(decode) : [], ...VIEWS[name] };
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
