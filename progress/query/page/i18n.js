// The page's texts, in the language that the server selected. Each language has one file: en.json, ja.json. The
// document contains the texts of a learner's progress; the other views load the file.

const texts = JSON.parse(document.getElementById('texts').textContent);

export const language = document.documentElement.lang;

const numbers = new Intl.NumberFormat(language);
const plurals = new Intl.PluralRules(language);

export async function loadTexts() {
  if (texts.isComplete) return;
  const response = await fetch(new URL(`${language.slice(0, 2)}.json`, import.meta.url));
  if (!response.ok) throw new Error(`Load failed: ${response.status}`);
  Object.assign(texts, await response.json(), { isComplete: true });
}

/** A module that is being imported, once all texts are loaded, too. */
export const withTexts = async (module) => (await Promise.all([module, loadTexts()]))[0];

/**
 * The text with this key, such as "today.streak". `values` replace the names in braces; numbers are formatted. If a
 * text has several plural forms, the value `count` selects one. To others, it is the text with "Theirs" after the key
 * that speaks about the learner, if there is one.
 */
export const t = (key, values) => parts(key, values).join('');

/** The text as a list of strings and elements. Callers need this list if a value is an element. */
export function parts(key, values = {}) {
  const entry = (spokenOf && find(`${key}Theirs`)) ?? find(key);
  const text = typeof entry === 'object' ? entry[plurals.select(values.count)] ?? entry.other : entry;
  return (text ?? key).split(/\{(\w+)\}/).map((part, index) => (index % 2 ? format(values[part]) : inCards(part)));
}

const ofCards = new Set(); // the learners whose items are called cards; null is the user
let spokenOf;

/** Let the texts speak of a learner's items from now on; null for the user's own, undefined for those of nobody. */
export const speakOf = (learner) => { spokenOf = learner; };

/** Call a learner's items cards, or words again; return whether this is a change. */
export function countCards(learner, are) {
  const isChange = are !== ofCards.has(learner);
  ofCards[are ? 'add' : 'delete'](learner);
  return isChange;
}

const CARDS = [[/\bword(?=s?\b)/g, 'card'], [/\bWord(?=s?\b)/g, 'Card'], [/単語/g, 'カード'], [/(?<=^|\d)語/g, '枚']];

const inCards = (text) => (ofCards.has(spokenOf)
  ? CARDS.reduce((one, [word, card]) => one.replace(word, card), text) : text);

/** The text with this key, which contains a value from the API, or the fallback if there is no such text. */
export const textOf = (key, fallback) => (find(key) === undefined ? fallback : t(key));

const find = (key) => key.split('.').reduce((node, name) => node?.[name], texts);

const format = (value) => (typeof value === 'number' ? numbers.format(value) : value ?? '');

/** The texts, separated by commas: "a, b, c". Empty texts are left out. */
export const join = (...items) => items.flat().filter(Boolean).join(t('separator'));

export const sentences = (...items) => items.flat().filter(Boolean).join(t('gap'));

/** Store the selected language as a cookie, and reload the page, which keeps the focus, once there is a network. */
export function selectLanguage(code) {
  document.cookie = `language=${code}; path=${location.pathname}; max-age=31536000; SameSite=Lax`;
  history.replaceState('language', '');
  if (navigator.onLine) location.reload();
  else addEventListener('online', () => location.reload());
}
