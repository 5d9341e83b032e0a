// The list of a learner's items. The URL contains the filters, the order and the search.

import { h } from './dom.js';
import { dayAfter, days, number, percent, recallShare } from './format.js';
import { sentences, t } from './i18n.js';
import { chooseLanguage, chosenLanguage, languageName, offered } from './languages.js';
import { button, note, stamp, table } from './layout.js';
import { learnName, nameOf } from './names.js';
import { View } from './problems.js';
import { address, appLink, due, itemList, itemPage, level, listsPage, word } from './items.js';
import { ask, pastDay } from './past_day.js';
import { groupOfTasks, listenForTasks, setDoor } from './task_doors.js';

const QUERY = `query Items($user: ID, $filter: ItemFilter, $order: ItemOrder, $level: CefrLevel, $skill: Domain,
    $list: ID, $search: String, $language: String, $from: Date, $to: Date, $after: String,
    $isFirst: Boolean!, $isListed: Boolean!, $listId: ID!) {
  items: itemStats(userId: $user, filter: $filter, orderBy: $order, level: $level, domain: $skill, list: $list,
      search: $search, language: $language, from: $from, to: $to, first: 50, after: $after) {
    totalCount
    pageInfo { hasNextPage endCursor }
    edges { node {
      itemId headword language kind level own answers correctAnswers accuracyRate lapses dueAt dueOn inPlay
      estimatedRecall
    } }
  }
  languages(userId: $user) { language kinds }
  today: dueForecast(userId: $user, days: 1) { date }
  lists(userId: $user, first: 50) @include(if: $isFirst) { edges { node { id name } } }
  chosen: list(userId: $user, listId: $listId) @include(if: $isListed) { id name }
}`;
const DEBOUNCE_MS = 30;
const MAX_AGE_MS = 60_000; // an older list is loaded again when the user goes "back" to it
const MAX_RESULTS = 50; // kept search results, so that no request is necessary when the user deletes a letter

// The filters of what happened on some days; without days, today.
const OF_DAYS = ['ANSWERED', 'MISSED', 'NEWLY_MASTERED', 'SLIPPED_BACK'];
const DAY = /^20\d\d-\d\d-\d\d$/;

// The values of each control, and the default order of each filter.
const CONTROLS = {
  filter: ['ALL', 'DUE', 'FADING', 'STRUGGLING', 'LEECH', 'LEARNING', 'MASTERED', 'SET_ASIDE', ...OF_DAYS],
  level: ['', 'A1', 'A2', 'B1', 'B2', 'C1', 'C2', 'UNKNOWN'],
  skill: ['', 'R', 'W', 'L', 'S', 'UNKNOWN'],
  order: ['RECENT', 'DUE', 'RECALL', 'ACCURACY', 'LAPSES'],
};
const LABELS = {
  filter: 'frame.show', level: 'levels.level', skill: 'skills.skill', list: 'items.list', language: 'languages.title',
  order: 'items.order',
};
const ORDERS = { DUE: 'DUE', FADING: 'RECALL', STRUGGLING: 'ACCURACY', LEECH: 'LAPSES' };
const defaultOrder = (filter) => ORDERS[filter] ?? 'RECENT';

export class ItemList extends View {
  keeps = ['data', 'lists', 'shown'];

  constructor(element, user, parameters, shell) {
    super(element, shell, { user, view: parse(parameters), known: new Map() });
    this.listen();
    if (this.restore(MAX_AGE_MS)) {
      this.update(this.view, this.data);
      scrollTo(0, this.scroll);
    } else this.load();
    this.keepTime();
  }

  close() {
    super.close();
    clearTimeout(this.typing);
  }

  /** Load the first page or, with `more`, the next page. A newer request aborts an older one. */
  async load(more = false) {
    const { view } = this;
    return this.attempt(async (signal) => {
      const known = more ? null : this.find(view);
      const result = known ?? await this.fetch(view, more ? this.data.cursor : null, signal);
      if (signal.aborted) return;
      if (more) Object.assign(result, { rows: [...this.data.rows, ...result.rows], at: this.data.at });
      this.update(view, result);
    });
  }

  refresh() {
    this.known.clear();
    this.load();
  }

  async fetch({ filter, order, level, skill, list, language, search, from, to }, after, signal) {
    const at = Date.now();
    const isFirst = !this.lists;
    const { data: { items, languages, lists, chosen, today: [{ date: today }] } } = await ask(QUERY, {
      user: this.user, filter, order, search, from, to, after,
      isFirst, isListed: isFirst && list !== '', listId: list,
      level: level || null, skill: skill || null, list: list || null, language: language || null,
    }, signal);
    if (lists) {
      const known = lists.edges.map((edge) => edge.node);
      for (const { id, name } of [...known, ...(chosen ? [chosen] : [])]) learnName('list', id, name);
      this.lists = known.map(({ id }) => id);
    }
    const { hasNextPage, endCursor } = items.pageInfo;
    const rows = items.edges.map((edge) => edge.node);
    return { at, rows, today, languages, total: items.totalCount, cursor: hasNextPage ? endCursor : null };
  }

  /**
   * Return the view's result if it is available without a request, else null. If the result is not known, filter the
   * known result of a wider view. The search of a wider view is a substring of this view's search; all other values are
   * the same. All rows of the wider view must be loaded.
   */
  find(view) {
    const same = this.known.get(keyOf(view));
    if (same) return same.result;
    const { search } = view;
    const isWider = (other) => search.includes(other.search) && keyOf({ ...other, search }) === keyOf(view);
    const wider = [...this.known.values()].find((one) => !one.result.cursor && isWider(one.view));
    if (!wider) return null;
    const rows = wider.result.rows.filter(({ headword }) => headword && lower(headword).includes(lower(search)));
    return { ...wider.result, rows, total: rows.length };
  }

  update(view, result) {
    Object.assign(this, { data: result, shown: keyOf(view) });
    this.known.set(keyOf(view), { view, result });
    if (this.known.size > MAX_RESULTS) this.known.delete(this.known.keys().next().value);
    this.succeed();
    if (this.announces) this.shell.announce(t('items.found', { count: result.total }));
    this.announces = true;
  }

  /** Change the view. A changed search replaces the history entry; another change adds one, to which "back" returns. */
  change(changes) {
    this.request?.abort();
    this.view = { ...this.view, ...changes };
    if ('language' in changes) chooseLanguage(changes.language || null);
    if ('filter' in changes) Object.assign(this.view, { order: defaultOrder(changes.filter), from: null, to: null });
    const isSearch = 'search' in changes;
    if (!isSearch) this.known.clear();
    history[isSearch ? 'replaceState' : 'pushState'](null, '', itemList(this.user, format(this.view)));
    if ('language' in changes) this.shell.moved();
    clearTimeout(this.typing);
    const isKnown = isSearch && this.find(this.view);
    this.typing = setTimeout(() => this.load(), isSearch && !isKnown ? DEBOUNCE_MS : 0);
  }

  listen() {
    listenForSearch(this);
    listenForTasks(this, groupOfTasks, () => this.data.rows);
    this.on('change', ({ target }) => target.name in LABELS && this.change({ [target.name]: target.value }));
    this.on('click', ({ target }) => target.closest('[data-more]') && this.load(true));
    this.on('click', ({ target }) => target.closest('[data-refresh]') && this.refresh());
    this.on('keydown', (event) => this.key(event));
  }

  /** Move the focus with the arrow keys: from the search field to the first row, and from row to row. */
  key(event) {
    const stops = [...this.element.querySelectorAll('[name=search], .item-list th a')];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const at = stops.indexOf(event.target);
    if (!step || at < 0 || !stops[at + step]) return;
    event.preventDefault();
    stops[at + step].focus();
  }

  sections() {
    // While another choice is loading, or if it does not arrive, there are no rows.
    const isOfView = this.shown === keyOf(this.view);
    const { rows, total, cursor, today } = { ...this.data, ...!isOfView && { rows: [], total: null, cursor: null } };
    const { filter, from, to } = this.view;
    const isNew = total === 0 && !this.isFiltered;
    const meaning = filter in ORDERS ? t(`list.meanings.${filter}`)
      : OF_DAYS.includes(filter) && days(from ?? today, to ?? today);
    const isMistakes = !this.user && filter === 'MISSED' && from === dayAfter(today, -1) && to === from;
    const title = this.user ? t('items.of', { user: nameOf('learner', this.user) })
      : t(isMistakes ? 'items.mistakes' : 'items.title');
    return [
      h('h1', { 'data-key': 'title' }, title),
      stamp(this.data.at),
      h('div', { class: 'tools', 'data-key': 'lists' },
        h('a', { class: 'button quiet', href: listsPage(this.user) }, t('view.lists')),
        h('a', { class: 'button quiet', href: address(['text', this.user]) }, t('view.text'))),
      h('section', { class: 'card wide', 'aria-label': t('items.title'), 'data-key': 'items' },
        isNew ? h('p', null, t('items.none')) : this.controls(),
        total !== null && !isNew && h('p', { class: 'note' }, total
          ? [t('items.found', { count: total }), meaning && ` · ${meaning}`]
          : sentences(meaning, t('items.noMatch'))),
        total === 0 && filter === 'LEECH' && h('a', {
          class: 'button quiet', href: itemList(this.user, { filter: 'struggling' }),
        }, t('items.weak')),
        !this.user && !pastDay() && total > 0
          && h('div', { class: 'tools' }, appLink('next.start', wordsToPractise(this.view, today))),
        this.user && groupOfTasks() && h('div', { class: 'tools' }, setDoor('words', rows)),
        rows.some(({ own }) => own) && note(t('list.own')),
        rows.length > 0 && itemTable(rows, this.view.order, today, this.user),
        cursor && button('more', 'more', t('items.more'))),
    ];
  }

  get isFiltered() {
    const { filter, level, skill, list, language, search } = this.view;
    return Boolean(filter !== 'ALL' || level || skill || list || language || search);
  }

  controls() {
    const languages = offered(this.data.languages);
    const lists = [...new Set([...this.lists ?? [], this.view.list])].filter(Boolean);
    const values = {
      ...CONTROLS, list: lists.length ? ['', ...lists] : null, language: languages.length ? ['', ...languages] : null,
    };
    const select = (name) => values[name] && h('label', { class: 'control' }, h('span', null, t(LABELS[name])),
      h('select', { name }, values[name].map((value) =>
        h('option', { value, selected: value === this.view[name] }, textOf(name, value)))));
    return h('div', { class: 'controls-row', role: 'search' },
      searchField(this.view.search),
      Object.keys(LABELS).map(select));
  }
}

export const searchField = (value) => h('label', { class: 'control grow-control' }, h('span', null, t('items.search')),
  h('input', {
    type: 'search', name: 'search', value, maxlength: 200, autocomplete: 'off', autocapitalize: 'none',
    spellcheck: 'false', enterkeyhint: 'search',
  }));

/** When the user enters a search, change the view by it; not while a word is being composed. */
export function listenForSearch(view) {
  const search = ({ target, isComposing }) =>
    target.name === 'search' && !isComposing && view.change({ search: target.value.trim() });
  view.on('input', search);
  view.on('compositionend', search);
}

function textOf(control, value) {
  if (control === 'language') return languageName(value);
  if (control === 'list') return value ? nameOf('list', value) : t('items.anyList');
  if (control === 'skill') return value ? t(`skills.${value}`) : t('items.anySkill');
  if (control !== 'level') return control === 'filter' ? t(`list.filters.${value}`) : t(`list.orders.${value}`);
  return value === 'UNKNOWN' ? t('levels.none') : value || t('items.anyLevel');
}

/** The view that the URL's parameters describe; unknown values are ignored. */
function parse(parameters) {
  const value = (name) => {
    const text = (parameters.get(name) ?? '').toUpperCase();
    return CONTROLS[name].includes(text) ? text : null;
  };
  const filter = value('filter') ?? 'ALL';
  const day = (name) => (OF_DAYS.includes(filter) && DAY.test(parameters.get(name)) ? parameters.get(name) : null);
  return {
    filter,
    from: day('from'),
    to: day('from') && day('to'),
    level: value('level') ?? '',
    skill: value('skill') ?? '',
    list: parameters.get('list') ?? '',
    language: chosenLanguage() ?? '',
    order: value('order') ?? defaultOrder(filter),
    search: parameters.get('search') ?? '',
  };
}

/** The URL parameters that describe a view; default values are left out. Each address has the language already. */
function format({ filter, level, skill, list, order, search, from, to }) {
  const values = {
    filter: filter !== 'ALL' && filter.toLowerCase(),
    from, to, level, skill, list,
    order: order !== defaultOrder(filter) && order.toLowerCase(),
    search,
  };
  return Object.fromEntries(Object.entries(values).filter(([, text]) => text));
}

/** The arguments of `itemStats` that the app is given; null if it cannot be given those of the view. */
function wordsToPractise({ filter, level, skill, list, language, search, from, to }, today) {
  const days = OF_DAYS.includes(filter) && { from: from ?? today, to: to ?? today };
  return skill || search ? null : { filter: filter === 'ALL' ? '' : filter, level, list, language, ...days };
}

const keyOf = (view) => itemList(null, format(view));

/** Convert only ASCII letters to lower case, because the server's search ignores case only for ASCII letters. */
const lower = (text) => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

/** The table. On a narrow screen, lapses and estimates are shown only if the rows are ordered by them. */
const itemTable = (rows, order, today, user) => table(
  [t('items.item'), t('week.right'), t('items.lapses'), t('items.recall'), t('items.due')],
  rows.map((item) => [
    [h('a', { href: itemPage(item.itemId, user) }, word(item)), level(item)],
    [h('b', null, percent(item.accuracyRate)),
      h('span', { class: 'of' }, t('items.ofAnswers', { right: item.correctAnswers, count: item.answers }))],
    number(item.lapses), recallShare(item.estimatedRecall), due(item, today),
  ]),
  `items item-list roomy ${{ LAPSES: 'four by-lapses', RECALL: 'four by-recall' }[order] ?? ''}`,
  rows.map(({ itemId }) => itemId));
