// The language of the items that the page counts: all, or the one that the URL's parameter `language` names. Whoever
// learns two languages or more can switch between them.

import { h } from './dom.js';
import { language as pageLanguage, t } from './i18n.js';
import { note } from './layout.js';
import { withParameter } from './past_day.js';

let chosen = null;

/** The language of the items, as an argument of the API; null for all languages. */
export const chosenLanguage = () => chosen;

export const chooseLanguage = (tag) => { chosen = tag; };

export function languageOf(parameters) {
  const tag = parameters.get('language') ?? '';
  return /^[a-z]{1,8}$/i.test(tag) ? tag.toLowerCase() : null;
}

/**
 * The number of a learner's new words. As long as no answered word is described, the catalogue's are not known to be
 * what this learner learns: then `unmet` counts those of the lists, null without one, undefined until it is loaded.
 */
export function newWords(data) {
  const { unmet, progress, user } = data;
  return isDescribed(data) || (unmet === null && !user) ? progress?.masteryStats.unlearned : unmet ?? undefined;
}

/** True if a described word is known to be answered: one with a language, a level or a skill. Own words have none. */
export const isDescribed = ({ languages, levels, domains }) => languages.some(({ language }) => language !== 'und')
  || [...levels, ...domains].some((row) => row.itemsStudied > 0 && (row.level ?? row.domain) !== 'UNKNOWN');

export const inLanguage = (tag, href) => withParameter(href, 'language', tag);

/**
 * The languages that the user can choose, of those that the API lists for the learner; none if there is only one. Items
 * without a language make no second one: they are a choice beside two languages, or beside the chosen one.
 */
export function offered(languages, tag = chosen) {
  const tags = [...new Set([...languages.map(({ language }) => language), ...(tag ? [tag] : [])])];
  return tags.filter((one) => tag || one !== 'und').length > 1 ? tags : [];
}

/** Buttons that choose all languages or one of them. `tag` is the language of what is shown. */
export function languageSwitch(languages, tag) {
  const tags = offered(languages, tag);
  return tags.length > 0 && h('div', {
    class: 'switch', role: 'group', 'aria-label': t('languages.title'), 'data-key': 'languages',
  }, ['', ...tags].map((one) => h('button', {
    type: 'button', 'data-language': one, 'aria-pressed': String(one === (tag ?? '')),
  }, languageName(one))));
}

export const ofAllLanguages = (languages, tag) => tag && offered(languages, tag).length > 0 && note(t('languages.all'));

/** The name of a language in the language of the page; an empty tag means all languages. */
export function languageName(tag) {
  if (!tag || tag === 'und') return t(tag ? 'languages.none' : 'languages.all');
  try {
    return new Intl.DisplayNames(pageLanguage, { type: 'language' }).of(tag);
  } catch {
    return tag; // of a length that no language has
  }
}

/** When the user presses a button of the switch, keep the language in the address, and reload the view's numbers. */
export function listenForLanguage(view, reload) {
  view.on('click', ({ target }) => {
    const button = target.closest('[data-language]');
    if (!button) return;
    chooseLanguage(button.dataset.language || null);
    history.replaceState(null, '', inLanguage(chosen, location.hash || '#/'));
    view.shell.moved();
    reload();
  });
}
