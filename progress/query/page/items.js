// The section of the learner's items with the lowest accuracy, and functions that show an item or link to it.

import { h } from './dom.js';
import { distance, floor, instant, longDay, nearDay, now, percent } from './format.js';
import { t } from './i18n.js';
import { chosenLanguage, inLanguage, languageSwitch } from './languages.js';
import { card, note, section, table } from './layout.js';
import { inGroup, learnName, nameOf, visible } from './names.js';
import { on, pastDay } from './past_day.js';
import { isStaff } from './signed_in.js';

export function items({ weakest, user, isOwn, day, languages, language }) {
  const rows = weakest.edges.map((edge) => edge.node);
  const more = weakest.totalCount - rows.length;
  return section('items', t('items.title'), languageSwitch(languages, language),
    card('weakest', t('weakest.title'), 'wide',
      note(t(rows.length ? 'weakest.meaning' : 'weakest.none')),
      rows.length > 0 && table(
        [t('items.item'), t('week.right'), t('items.due')], rows.map((item) => cells(item, user, day)), 'items'),
      h('div', { class: 'tools' },
        rows.length > 0 && isOwn && !pastDay() && appLink('items.practise', { filter: 'STRUGGLING', language }, true),
        more > 0 && link(itemList(user, { filter: 'struggling' }), t('weakest.all', { count: weakest.totalCount })),
        link(itemList(user), t('items.all')), link(listsPage(user), t('view.lists')))));
}

const link = (href, text) => h('a', { class: 'button quiet', href }, text);

const cells = (item, user, day) => [
  [h('a', { href: itemPage(item.itemId, user) }, word(item)), level(item)],
  [h('b', null, percent(item.accuracyRate)),
    h('span', { class: 'of' }, t('items.ofAnswers', { right: item.correctAnswers, count: item.answers }))],
  due(item, day),
];

/** The time until the item is due, as a text; a removed item never is. `today` is the learner's day. */
export function due({ dueAt, dueOn, inPlay = true }, today) {
  if (!dueAt || !inPlay) return '–';
  const late = (instant(today) - instant(dueOn)) / 86_400_000;
  if (late > 0) return t('items.late', { count: late });
  return Date.parse(dueAt) <= now() ? t('items.now') : distance(dueAt);
}

/** The headword or, if it is unknown, the item's id. The item's page has the name from the beginning. */
export function word({ headword, itemId, language }) {
  learnName('item', itemId, headword);
  if (!visible(headword)) return h('span', { class: 'id', dir: 'auto', translate: 'no' }, itemId);
  return h('span', { class: 'word', lang: language ?? languageOf(headword), dir: 'auto', translate: 'no' }, headword);
}

/** The language of a word if its script belongs to only one language; otherwise "", for an unknown language. */
function languageOf(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return 'ja';
  return /\p{Script=Hangul}/u.test(text) ? 'ko' : '';
}

/** The item's level; its kind and whether the word is the learner's own, if the request asks for them. */
export const level = ({ level: name, kind, own }) => tags(name !== 'UNKNOWN' && name, kind, own && t('items.own'));

export const tags = (...texts) => texts.filter(Boolean).flatMap((text) => [' ', h('span', { class: 'tag' }, text)]);

/** The address of an item's page; `list` is the id of the list from which it is opened. */
export const itemPage = (itemId, user, list = null) => address(['item', itemId, user], list && { list });

export const sessionPage = (id, user) => address(['session', id, user]);

/** The address of the days of a streak. */
export const streakPage = (user) => address(['streak', user]);

/** The address of a day's answers; null for who sees only numbers of the learner. */
export const dayPage = (day, user) => (seesEvents(user) ? address(['day', day, user]) : null);

/** Whether who looks sees the recorded events of a learner, null for their own. */
export const seesEvents = (user) => !user || isStaff();

export const itemList = (user, parameters) => address(['items', user], parameters);

export const listsPage = (user, scale = null) => address(['lists', user], scale && { scale });

export const listPage = (id, user, parameters) => address(['list', id, user], parameters);

export function listName({ id, name }) {
  learnName('list', id, name);
  const shown = visible(name) && nameOf('list', id);
  return h('span', { class: shown ? null : 'id', dir: 'auto', translate: 'no' }, shown ?? id);
}

export const listLink = (list, user) =>
  [h('a', { href: listPage(list.id, user) }, listName(list)), ...tags(list.own && t('items.own'))];

/**
 * How many words of a task are learned, and how many of them will be remembered on its day, and how many a day are left
 * until then; after it, how many were learned by its end and, if there are more, by now.
 */
export function taskText({ items: count, known, knownNow, expected, dueOn }, today) {
  const day = dueOn === today ? t('tasks.endOfToday') : nearDay(dueOn, today);
  if (known == null || !count) return t('tasks.size', { count, day });
  const name = expected != null && dueOn >= today ? dueOn === today ? 'rememberedToday' : 'remembered'
    : known < knownNow ? 'late' : 'learned';
  const text = t(`tasks.${name}`, { known, count, day, now: knownNow, expected: floor(expected) });
  const left = count - knownNow;
  const days = (instant(dueOn) - instant(today)) / 86_400_000;
  if (left < 1 || days < 0) return text;
  const words = t('items.found', { count: left });
  return t(`tasks.${days ? 'pace' : 'rest'}`,
    { text, words, days: t('streak.days', { count: days }), count: Math.ceil(left / days) });
}

/**
 * A button that opens the learning app; none if the server does not know the app's address. `words` are the arguments
 * of `itemStats` that list the words to practise: the address's placeholders. If none do, `words` is null, and only an
 * address without placeholders has a button.
 */
export function appLink(text, words, isQuiet = false) {
  const { content: url } = document.querySelector('meta[name=app]');
  const href = url.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(words?.[name] ?? ''));
  return url && (words || href === url)
    && h('a', { class: `button${isQuiet ? ' quiet' : ''}`, href, 'data-key': 'app' }, t(text));
}

/** The words that a number of all languages counts: those of a filter, on some days. */
export const wordsOf = ({ user, day }, filter, from = null, to = from) =>
  inLanguage(null, itemList(user, { filter, ...from && { from, to: to < day ? to : day } }));

export const wordsLink = (data, text, ...which) => h('a', { href: wordsOf(data, ...which) }, text);

export const expectedOn = (day) => (pastDay() ? t('expected.then', { day: longDay(day) }) : t('expected.now'));

export const knowledgePage = (user) => address(['knowledge', user]);

/** The address of a view. It keeps the day, the language and the group that the page shows. */
export function address(parts, parameters) {
  const path = `#/${parts.filter(Boolean).map(encodeURIComponent).join('/')}`;
  const query = new URLSearchParams(parameters ?? '').toString();
  return inGroup(on(pastDay(), inLanguage(chosenLanguage(), path + (query && `?${query}`))));
}
