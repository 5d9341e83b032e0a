// The names that the page has read, so that titles and tabs have no ids; and the group of the learner that is shown.

import { t } from './i18n.js';
import { withParameter } from './past_day.js';

const names = new Map(); // by kind and id: an id may be that of a learner and of an item
let group = null;
const SPARE = 'Imported words'; // of an import's words without a deck; only the page knows its reader's language

/** The name or headword, if something in it can be seen; else null. */
export const visible = (name) => (/[^\s\p{C}\p{DI}\u2800]/u.test(name ?? '') ? name : null);

export const learnName = (kind, id, name) => visible(name)
  && names.set(`${kind} ${id}`, kind === 'list' && name === SPARE ? t('items.imported') : name);

export const isKnown = (kind, id) => names.has(`${kind} ${id}`);

/** Forget what the user has read. */
export const forgetNames = () => names.clear();

export const nameOf = (kind, id) => names.get(`${kind} ${id}`) ?? id;

export const chooseGroup = (id) => { group = id; };

export const shownGroup = () => group;

export const inGroup = (href) => withParameter(href, 'group', group);
