// What the tests of the page's modules share: a document without a browser, a clock that stands, and a learner.

import { readFileSync } from 'node:fs';
import { register } from 'node:module';

register('./fresh_modules.mjs', import.meta.url);
export const PAGE = new URL('../../../../progress/query/page/', import.meta.url);
export const NOW = Date.parse('2024-03-11T12:00:00Z'); // a Monday
const { fetch } = globalThis;
let loads = 0;

/** An element that only keeps its attributes and children. */
export class Element {
  constructor(name) { Object.assign(this, { name, attributes: {}, children: [] }); }
  setAttribute(name, value) { this.attributes[name] = value; }
  append(...children) { this.children.push(...children); }
  addEventListener() {}
  get textContent() { return this.children.map((child) => child.textContent ?? child).join(''); }
  get all() { return [this, ...this.children.flatMap((child) => child.all ?? [])]; }
  find(key) { return this.all.find(({ attributes }) => attributes['data-key'] === key); }
  tags(tag) { return this.all.filter(({ name }) => name === tag); }
}

export const texts = (language) => JSON.parse(readFileSync(new URL(`${language.slice(0, 2)}.json`, PAGE), 'utf8'));

/** Load modules in a new document; return what they export. */
export async function pageIn({ language = 'en-GB', zone = 'UTC' }, ...names) {
  process.env.TZ = zone;
  Date.now = () => NOW;
  const textContent = JSON.stringify(texts(language));
  Object.assign(globalThis, {
    fetch, location: { hash: '' }, history: {}, addEventListener() {}, removeEventListener() {}, setInterval() {},
    document: {
      baseURI: 'http://localhost/', documentElement: { lang: language, toggleAttribute() {} }, activeElement: null,
      getElementById: () => ({ textContent }), querySelector: () => ({ content: '' }), addEventListener() {},
      createElement: (name) => new Element(name), createElementNS: (_, name) => new Element(name),
    },
  });
  loads += 1;
  return Object.assign({}, ...await Promise.all(names.map((name) => import(new URL(`${name}.js?${loads}`, PAGE)))));
}

export const page = (...names) => pageIn({}, ...names);

/** Answer each request with the data that `find` returns for the request's body. */
export function answerWith(find) {
  globalThis.fetch = async (_, { body }) => new Response(JSON.stringify({ data: await find(JSON.parse(body)) }));
}

export const inHours = (hours) => new Date(NOW + hours * 3_600_000).toISOString();
export const dayIn = (days) => inHours(24 * days).slice(0, 10);
export const range = (length, make) => Array.from({ length }, (_, index) => make(index));
export const textsOf = (elements) => elements.map(({ textContent }) => textContent);
export const cells = (rows) => rows.map(({ children }) => textsOf(children));

export const stages = (learning) => ({ learning, shortTermMastered: 0, longTermMastered: 0, unlearned: 0 });
export const studyDay = (date, more) => [date, {
  date, answers: 1, correctAnswers: 1, averageResponseMs: 1, studySeconds: 1, sessionsCompleted: 1, itemsLearned: 1,
  newMasteryCount: 1, ...more }];
export const learner = (more) => ({
  day: dayIn(0), days: new Map(), restDays: new Set(), streak: {}, projections: [], levels: [], domains: [],
  languages: [{ language: 'en', kinds: 1 }], milestones: { edges: [] }, progress: { masteryStats: stages(0) },
  due: [{ date: dayIn(0), items: 0 }], ...more });
