// How much of a text a learner or a group is expected to know, and which words would add most. Only ids of words and
// how often they occur are sent.

import { askEach, runQuery } from './api.js';
import * as catalogue from './catalogue.js';
import { bar } from './charts.js';
import { saveCsv } from './csv.js';
import { h } from './dom.js';
import { localDate, now, recallShare, rounded, share } from './format.js';
import { join, parts, sentences, t } from './i18n.js';
import { itemList, itemPage, level, word } from './items.js';
import { chosenLanguage, languageSwitch, listenForLanguage } from './languages.js';
import { button, note, panel, table } from './layout.js';
import { addressOf, findAlike, groupName, learnLearners, leave, linkTo } from './member_links.js';
import { learnName } from './names.js';
import { ask, withParameter } from './past_day.js';
import { View } from './problems.js';
import { listenForTasks, setDoor } from './task_doors.js';

const MOST = 1_000; // items of a request
const MOST_MEMBERS = 100; // of a group that is asked about
const FIRST = 10; // words that are chosen at first
const SHOWN = 20; // words, until the user wants to see all
const LEARNER = 'query Languages($user: ID) { languages(userId: $user) { language kinds } }';
const GROUP = `query Group($group: ID!) {
  group(groupId: $group) { name members }
  learners(groupId: $group, orderBy: PRAISE, first: 5) { edges { node { userId } } }
}`;
const GAP = 'itemId headword level count adds';
const OF_LEARNER = `query Coverage($user: ID, $items: [CoverageItem!]!) {
  coverage(userId: $user, items: $items) { covered gaps(first: 200) { ${GAP} estimatedRecall } }
}`;
const OF_GROUP = `query GroupCoverage($group: ID!, $items: [CoverageItem!]!) {
  group(groupId: $group) {
    coverage(items: $items) {
      covered gaps(first: 200) { ${GAP} learners } members(first: ${MOST_MEMBERS}) { userId displayName covered }
    }
  }
}`;

export class Text extends View {
  keeps = ['data', 'words', 'text', 'isCounted', 'chosen', 'most'];

  /** Of a learner, null for the user; or of a group, for which words can be chosen. */
  constructor(element, user, group, shell) {
    super(element, shell, {
      user, group, text: '', isCounted: false, chosen: new Set(), most: SHOWN,
      hash: location.hash,
    });
    listenForLanguage(this, () => this.load());
    listenForTasks(this, () => group, () => this.chosenWords());
    this.on('input', ({ target }) => {
      if (target.name === 'text') this.text = target.value;
    });
    this.on('submit', (event) => {
      event.preventDefault();
      this.isCounted = true;
      this.load();
    });
    this.on('change', ({ target: { name, value, checked } }) => {
      if (name !== 'word') return;
      this.chosen[checked ? 'add' : 'delete'](value);
      this.draw();
    });
    this.on('click', ({ target }) => {
      if (target.closest('[data-csv]')) this.save();
      if (!target.closest('[data-more]')) return;
      this.most = Infinity;
      this.draw();
    });
    if (this.restore()) {
      this.draw();
      scrollTo(0, this.scroll);
    } else this.naming = this.load();
  }

  close() {
    super.close();
    const { hash, group, data } = this;
    if (group && data?.members) leave({ hash, group, users: data.members.map(({ userId }) => userId) });
  }

  /** Read who is asked about and the catalogue; then, if the user wants it, count the words of the text. */
  async read(signal) {
    const language = chosenLanguage();
    if (this.words?.language !== language) this.words = catalogue.open(language);
    this.who ??= await (this.group ? this.readGroup(signal) : this.readLearner(signal));
    await catalogue.read(this.words, signal);
    if (!this.isCounted) return this.who;
    const { counts, ...found } = catalogue.find(this.words, this.text);
    const items = [...counts].map(([itemId, count]) => ({ itemId, count }))
      .sort((one, other) => other.count - one.count);
    const result = items.length ? await this.count(items.slice(0, MOST), signal) : null;
    signal.throwIfAborted();
    this.most = SHOWN;
    this.chosen = new Set(result?.gaps.slice(0, FIRST).map(({ itemId }) => itemId));
    learnLearners(result?.members ?? []);
    return { ...this.who, ...found, ...result, items: items.length };
  }

  async readLearner(signal) {
    return (await ask(LEARNER, { user: this.user }, signal)).data;
  }

  /** The languages of a group are those of the members who study most. */
  async readGroup(signal) {
    const { data: { group, learners } } = await runQuery(GROUP, { group: this.group }, signal);
    learnName('group', this.group, group?.name);
    this.shell.named();
    const users = learners.edges.map(({ node }) => node.userId);
    const languages = await askEach(users, (user) => `languages(${user}) { language kinds }`, signal);
    return { size: group?.members ?? 0, languages: languages.flat() };
  }

  async count(items, signal) {
    const { user, group } = this;
    if (!group) return (await ask(OF_LEARNER, { user, items }, signal)).data.coverage;
    return (await runQuery(OF_GROUP, { group, items }, signal)).data.group?.coverage;
  }

  succeed() {
    super.succeed();
    const { covered, found } = this.data ?? {};
    if (found === undefined) return;
    this.shell.announce(sentences(this.foundText(), covered !== undefined && this.knownText()));
  }

  draw() {
    super.draw();
    for (const box of this.element.querySelectorAll('[name=word]')) box.checked = this.chosen.has(box.value);
  }

  sections() {
    const { languages, size, found, covered, members } = this.data;
    const reason = this.group && !size ? t('group.empty')
      : size > MOST_MEMBERS ? t('coverage.tooMany', { count: MOST_MEMBERS })
        : this.words.ids.size ? null : t('coverage.none');
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('div', null,
        this.group ? h('a', { class: 'back', href: addressOf(this.group) }, groupName(this.group))
          : h('a', { class: 'back', href: itemList(this.user) }, t('view.items')),
        h('h1', null, t('view.text')))),
      languageSwitch(languages, chosenLanguage()),
      h('section', { class: 'card wide', 'aria-label': t('view.text'), 'data-key': 'paste' },
        reason ? h('p', null, reason) : this.form()),
      !reason && found !== undefined && this.result(),
      !reason && covered !== undefined && this.gaps(),
      !reason && members && this.members(),
    ];
  }

  form() {
    return h('form', null,
      h('label', { class: 'control' }, h('span', null, t('coverage.paste')),
        h('textarea', { name: 'text', rows: 8, autocomplete: 'off', spellcheck: 'false', required: true }, this.text)),
      note(t('coverage.private')), note(t('coverage.meaning')),
      h('div', { class: 'tools' }, h('button', { class: 'button' }, t('coverage.count'))));
  }

  foundText() {
    const { found, missing } = this.data;
    return t('coverage.found', { count: found + missing, missing });
  }

  /** What is known of the words that were found, as a text or, with an element for the share, as a list. */
  knownText(text = recallShare(this.data.covered)) {
    const found = parts(this.group ? 'coverage.knownByGroup' : 'coverage.known', { share: text });
    return typeof text === 'string' ? found.join('') : found;
  }

  result() {
    const { covered, items, others } = this.data;
    const isKnown = covered !== undefined;
    const figure = isKnown && this.knownText(h('strong', null, recallShare(covered)));
    return panel('result', this.foundText(), 'wide',
      isKnown && h('p', { class: 'figure' },
        figure.filter(Boolean).map((part) => (part.trim ? h('span', null, part) : part))),
      isKnown && bar([['right', covered]], 1),
      items > MOST && note(t('coverage.most', { most: MOST, count: items })),
      others.size > 0 && h('details', null, h('summary', null, t('coverage.others')),
        h('p', { dir: 'auto', translate: 'no' }, join(...others))));
  }

  gaps() {
    const { gaps, covered } = this.data;
    const chosen = this.chosenWords();
    const then = rounded(chosen.reduce((sum, { adds }) => sum + adds, covered), 1_000_000);
    return gaps.length > 0 && panel('gaps', t('coverage.gaps'), 'wide',
      h('div', { class: 'tools', 'data-key': 'chosen' },
        h('p', null, t('coverage.with', { count: chosen.length, share: recallShare(then) })),
        this.group && setDoor('chosen', chosen)),
      table([t('items.item'), t(this.group ? 'coverage.lackedBy' : 'items.recall'), t('coverage.adds')],
        gaps.slice(0, this.most).map((gap) => this.row(gap)), 'items', gaps.map(({ itemId }) => itemId)),
      gaps.length > this.most && button('more', 'more', t('items.more')));
  }

  chosenWords() {
    return this.data.gaps.filter(({ itemId }) => this.chosen.has(itemId));
  }

  /** A word that can be chosen for the group has its page behind the number. */
  row(gap) {
    const { user, group } = this;
    const { itemId, count, learners, adds } = gap;
    const href = group ? `#/group/${[group, itemId].map(encodeURIComponent).join('/')}` : itemPage(itemId, user);
    const lack = group ? t('tasks.ofMembers', { count: learners, members: this.data.size })
      : recallShare(gap.estimatedRecall);
    const named = group ? [h('label', { class: 'tick' },
      h('input', { type: 'checkbox', name: 'word', value: itemId }), h('span', null, word(gap), level(gap)))]
      : [h('a', { href }, word(gap)), ...level(gap)];
    return [
      [...named, count > 1 && h('span', { class: 'of' }, t('coverage.times', { count }))],
      group ? h('a', { href }, lack) : lack, share(adds),
    ];
  }

  members() {
    const { members } = this.data;
    const alike = findAlike(members.map(({ displayName }) => displayName));
    const address = (id) => withParameter(`#/learner/${encodeURIComponent(id)}`, 'group', this.group);
    return panel('members', t('coverage.members'), 'wide',
      h('div', { class: 'tools' }, button('csv', 'csv', t('group.save'))),
      table([t('group.learner'), t('expected.title')], members.map(({ userId, displayName, covered }) =>
        [linkTo(address(userId), userId, displayName, alike), recallShare(covered)])));
  }

  save() {
    const columns = [t('group.idOf'), t('group.learner'), t('expected.title')];
    const rows = this.data.members.map(({ userId, displayName, covered }) => [userId, displayName, covered]);
    saveCsv([groupName(this.group), t('view.text'), localDate(now())].join(' - '), columns,
      rows.map((row) => Object.fromEntries(columns.map((column, at) => [column, row[at]]))));
  }
}
