// The administrator's view: the state at a glance, lag, undelivered messages, dead letters, and operations.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { confirm, deadLetters, selectedIds } from './dead_letters.js';
import { sentences, t } from './i18n.js';
import { OPERATION, hasEnded, kindOf } from './operation.js';
import { operations } from './operations.js';
import { View } from './problems.js';
import { glance, lag, undelivered } from './system_state.js';
import { Subscription } from './stream.js';

const QUERY = `query Administration($kind: DeadLetterKind, $first: Int) {
  projections: projectionStatus { name eventsBehind secondsBehind status updatedAt }
  letters: deadLetters(kind: $kind, first: $first) {
    totalCount
    pageInfo { hasNextPage }
    edges { node { id kind topic eventId eventType reason payload receivedAt replayedAt } }
  }
  undelivered { subscription messages }
  operations(first: 10) { edges { node { ${OPERATION} } } }
}`;
const SUBSCRIPTION = `subscription Follow($id: ID!) { operation: operationUpdated(id: $id) { ${OPERATION} } }`;
const startMutation = (name, variables = '', args = '') =>
  `mutation Start($key: ID!${variables}) {
    operation: ${name}(idempotencyKey: $key${args}) { ${OPERATION} }
  }`;
const MUTATIONS = {
  batch: startMutation('runBatch'),
  rebuild: startMutation('rebuildProjections'),
  erase: startMutation('eraseUser', ', $user: ID!', ', userId: $user'),
  replay: startMutation('replayDeadLetters', ', $ids: [ID!]!', ', ids: $ids'),
};
const changeMutation = (name) => `mutation Change($id: ID!) { operation: ${name}(id: $id) { ${OPERATION} } }`;
const CHANGES = { cancel: changeMutation('cancelOperation'), retry: changeMutation('retryOperation') };
const LINK = 'query Link($id: ID!) { operation(id: $id) { download { url } } }';
const DISCARD = `mutation Discard($ids: [ID!]!, $reason: String!) {
  discarded: discardDeadLetters(ids: $ids, reason: $reason)
}`;

const INTERVAL_MS = 10_000;
const MAX_SUBSCRIPTIONS = 2; // to operations, because a browser opens at most six connections to a server
const PAGE_SIZE = 20;
const MAX_LETTERS = 200;

export class Administration extends View {
  constructor(element, shell) {
    super(element, shell, { error: null });
    this.view = { kind: null, first: PAGE_SIZE, selected: new Set() };
    this.keys = {}; // idempotency keys of the mutations that are not known to be accepted
    this.subscriptions = new Map();
    this.listen();
    this.load();
    this.clock = setInterval(() => document.hidden || this.load(), INTERVAL_MS);
  }

  close() {
    super.close();
    clearInterval(this.clock);
    for (const subscription of this.subscriptions.values()) subscription.close();
  }

  async load() {
    const { kind, first } = this.view;
    const request = (this.lastRequest = Symbol('only the last request counts'));
    const isOutdated = () => this.closing.signal.aborted || this.lastRequest !== request;
    try {
      const { data } = await runQuery(QUERY, { kind, first });
      if (!isOutdated()) this.update(data);
    } catch (problem) {
      if (!isOutdated()) this.fail(problem);
    }
  }

  update({ letters, operations: connection, ...rest }) {
    this.data = { ...rest, letters, operations: connection.edges.map((edge) => edge.node) };
    const shown = new Set(letters.edges.map((edge) => edge.node.id));
    for (const id of this.view.selected) if (!shown.has(id)) this.view.selected.delete(id);
    this.succeed();
    this.follow();
  }

  draw() {
    super.draw();
    const all = this.element.querySelector('[name=all]');
    if (all) all.checked = this.view.selected.size === this.data.letters.edges.length;
  }

  sections() {
    const { projections, letters, operations: rows, undelivered: messages } = this.data;
    return [
      h('h1', { 'data-key': 'title' }, t('view.administration')),
      h('p', { class: 'error', role: 'alert', 'data-key': 'error' }, this.error),
      glance(this.data),
      deadLetters(letters, this.view),
      h('div', { class: 'stacks', 'data-key': 'stacks' },
        h('div', { class: 'stack' }, lag(projections)),
        h('div', { class: 'stack' }, operations(rows), undelivered(messages))),
    ];
  }

  /** Subscribe to the operations in progress. */
  follow() {
    const running = this.data.operations.filter((operation) => !hasEnded(operation)).slice(0, MAX_SUBSCRIPTIONS);
    for (const { id } of running) {
      if (this.subscriptions.has(id)) continue;
      this.subscriptions.set(id, new Subscription(SUBSCRIPTION, { id }, {
        data: ({ operation }) => this.onOperation(operation),
        state: () => {},
      }));
    }
  }

  onOperation(operation) {
    const index = this.data.operations.findIndex((row) => row.id === operation.id);
    this.insert(operation, Math.max(index, 0));
    this.draw();
    if (!hasEnded(operation)) return;
    this.subscriptions.get(operation.id)?.close();
    this.announce(operation, operation.state === 'SUCCEEDED' ? t('operation.done') : t('operation.notDone'));
    this.load();
  }

  announce(operation, state) {
    this.shell.announce(t('operation.announced', { kind: kindOf(operation), state }));
  }

  insert(operation, index) {
    const rest = this.data.operations.filter((row) => row.id !== operation.id);
    this.data.operations = rest.toSpliced(index, 0, operation);
  }

  listen() {
    this.on('click', (event) => this.click(event.target.closest('[data-action]')));
    this.on('change', (event) => this.change(event.target));
  }

  change(input) {
    if (input.name === 'kind') Object.assign(this.view, { kind: input.value || null, first: PAGE_SIZE });
    if (input.name === 'kind') return this.load();
    const all = input.name === 'all' ? this.element.querySelectorAll('[name=letter]') : [input];
    for (const box of all) {
      box.checked = input.checked;
      this.view.selected[input.checked ? 'add' : 'delete'](box.value);
    }
    this.draw();
  }

  click(button) {
    if (!button || button.getAttribute('aria-disabled') === 'true') return;
    const actions = {
      jump: () => this.jump(button.dataset.id),
      more: () => this.showMore(),
      batch: () => this.start('batch'),
      rebuild: () => this.rebuild(),
      erase: () => this.erase(),
      replay: () => this.start('replay', { ids: selectedIds(this.view) }),
      discard: () => this.discard(),
      cancel: () => this.changeOperation('cancel', button.dataset.id),
      retry: () => this.changeOperation('retry', button.dataset.id),
      download: () => this.download(button.dataset.id),
    };
    actions[button.dataset.action]();
  }

  /** Save the file of an export. Its address is requested now, because it is valid for ten minutes only. */
  async download(id) {
    const data = await this.mutate(LINK, { id });
    if (data?.operation?.download) location.assign(data.operation.download.url);
    else if (data) this.load();
  }

  jump(id) {
    const heading = this.element.querySelector(`#${id}`);
    heading.scrollIntoView();
    heading.focus({ preventScroll: true });
  }

  showMore() {
    this.view.first = Math.min(this.view.first + PAGE_SIZE, MAX_LETTERS);
    this.load();
  }

  async rebuild() {
    const isConfirmed = await confirm({
      title: t('operation.rebuildTitle'), text: t('operation.rebuildText'), action: t('operation.rebuildAction'),
    });
    if (isConfirmed) this.start('rebuild');
  }

  async erase() {
    const user = await confirm({
      title: t('operation.eraseTitle'),
      text: sentences(t('operation.eraseText'), t('operation.eraseText2')),
      action: t('operation.eraseAction'),
      prompt: t('operation.erasePrompt'),
    });
    if (user) this.start('erase', { user });
  }

  /** Start an operation. A repeated attempt has the same idempotency key. */
  async start(name, args = {}) {
    const attempt = JSON.stringify([name, args]);
    this.keys[attempt] ??= crypto.randomUUID();
    const answer = await this.mutate(MUTATIONS[name], { key: this.keys[attempt], ...args });
    if (!answer) return;
    delete this.keys[attempt];
    this.clearSelection();
    this.announce(answer.operation, t('operation.isStarted'));
    this.insert(answer.operation, 0);
    this.draw();
    this.follow();
  }

  /** Cancel an operation, or let a failed one resume. */
  async changeOperation(name, id) {
    const answer = await this.mutate(CHANGES[name], { id });
    if (!answer) return;
    this.announce(answer.operation, name === 'cancel' ? t('operation.isCancelled') : t('operation.isResumed'));
    this.load();
  }

  async discard() {
    const ids = selectedIds(this.view);
    const reason = await confirm({
      title: t('letters.discardTitle', { count: ids.length }),
      text: t('letters.discardText'),
      action: t('letters.discard'),
      prompt: t('letters.reason'),
    });
    if (!reason) return;
    const answer = await this.mutate(DISCARD, { ids, reason });
    if (!answer) return;
    this.clearSelection();
    this.shell.announce(t('letters.discarded', { count: answer.discarded }));
    this.load();
  }

  clearSelection() {
    this.view.selected.clear();
    for (const box of this.element.querySelectorAll('[type=checkbox]')) box.checked = false;
  }

  /** Return the request's data. If the request fails, show the problem and return null. */
  async mutate(mutation, variables) {
    this.error = null;
    try {
      return (await runQuery(mutation, variables)).data;
    } catch (problem) {
      if (!problem.kind) throw problem;
      if (problem.kind === 'signed-out') this.shell.signedOut();
      else this.error = t('operation.failed', { message: problem.message });
      return null;
    } finally {
      if (!this.closing.signal.aborted) this.draw();
    }
  }
}
