// The administrator's view: the state at a glance, lag, undelivered messages, dead letters, and operations.

import { blockingSessions, findAlarms, shardList } from './alarms.js';
import { runQuery } from './api.js';
import { h } from './dom.js';
import { KINDS, confirm, deadLetters, selectedIds } from './dead_letters.js';
import { t } from './i18n.js';
import { EXAMPLE, senders } from './intake.js';
import { OPERATION, hasEnded, kindOf } from './operation.js';
import { operations, replayOutcome } from './operations.js';
import { View } from './problems.js';
import { arrivals, glance, lag, schedules, undelivered } from './system_state.js';
import { Subscription } from './stream.js';

const QUERY = `query Administration($kind: DeadLetterKind, $reason: String, $first: Int, $after: String,
    $isOlder: Boolean!, $isFirst: Boolean!) {
  projections: projectionStatus { name eventsBehind secondsBehind status updatedAt }
  reasons: deadLetterReasons { kind reason count newest }
  letters: deadLetters(kind: $kind, reason: $reason, first: $first) {
    totalCount
    pageInfo { hasNextPage }
    edges { node { id kind topic eventId eventType reason payload receivedAt replayedAt } }
  }
  shards { shard eventsBehind waitingSince session }
  schedules { name schedule state nextAt lastAt code }
  release { migrating otherVersions }
  undelivered { subscription messages }
  arrivals { start events deadLetters }
  intake @include(if: $isFirst) { events findings { kind name meant count example } }
  latest: operations(first: 10) { edges { node { ${OPERATION} } } pageInfo { hasNextPage endCursor } }
  page: operations(first: 10, after: $after) @include(if: $isOlder) {
    edges { node { ${OPERATION} } }
    pageInfo { hasNextPage endCursor }
  }
}`;
const SESSIONS = `query Sessions {
  sessions: blockingSessions { session login application state since locked shards waitsFor blocks }
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
const GROUP = `query Group($kind: DeadLetterKind, $reason: String) {
  letters: deadLetters(kind: $kind, reason: $reason, first: 200) { edges { node { id replayedAt } } }
}`;
const LINK = 'query Link($id: ID!) { operation(id: $id) { download { url } } }';
const DISCARD = `mutation Discard($ids: [ID!]!, $reason: String!) {
  discarded: discardDeadLetters(ids: $ids, reason: $reason)
}`;

const INTERVAL_MS = 10_000;
const MAX_SUBSCRIPTIONS = 2; // to operations; the others change at each interval
const PAGE_SIZE = 20;
const MAX_LETTERS = 200;

export class Administration extends View {
  constructor(element, parameters, shell) {
    super(element, shell, { error: null, sessions: undefined });
    const kind = KINDS.includes(parameters.get('kind')) ? parameters.get('kind') : null;
    this.view = { kind, reason: parameters.get('reason'), first: PAGE_SIZE, selected: new Set(), cursors: [] };
    this.examples = {}; // events that findings name, once they are asked for
    this.keys = {}; // idempotency keys of the mutations that are not known to be accepted
    this.subscriptions = new Map();
    this.listen();
    this.load();
    this.every(INTERVAL_MS, () => this.isWaiting || this.load());
  }

  close() {
    super.close();
    for (const subscription of this.subscriptions.values()) subscription.close();
  }

  async load() {
    const { kind, reason, first, cursors } = this.view;
    const request = (this.lastRequest = Symbol('only the last request counts'));
    const isOutdated = () => this.closing.signal.aborted || this.lastRequest !== request;
    this.isWaiting = true;
    const looked = this.look();
    try {
      const older = { after: cursors.at(-1), isOlder: cursors.length > 0, isFirst: !this.data };
      const { data } = await runQuery(QUERY, { kind, reason, first, ...older });
      if (!isOutdated()) this.update(data);
    } catch (problem) {
      await looked; // it says why, if the database is the reason
      if (!isOutdated()) this.fail(problem);
    } finally {
      if (!isOutdated()) this.isWaiting = false;
    }
  }

  /** Ask who blocks others, with a request of its own: the other one waits while a table is locked. */
  async look() {
    try {
      this.sessions = (await runQuery(SESSIONS)).data.sessions;
    } catch (problem) {
      this.sessions = problem.code === 'UNAVAILABLE' ? null : undefined;
    }
    if (!this.closing.signal.aborted) this.draw();
  }

  /** True if the database does not answer, or if a session keeps the answer back. */
  get isBlocked() {
    const isAway = this.problem?.kind === 'away' || !this.data;
    return this.sessions === null || (this.sessions?.length > 0 && isAway);
  }

  update({ letters, latest, page, ...rest }) {
    const nodes = ({ edges }) => edges.map((edge) => edge.node);
    const { pageInfo } = page ?? latest;
    this.intake ??= rest.intake;
    this.data = { ...rest, letters, operations: nodes(latest), page: page && nodes(page), pageInfo };
    const shown = new Set(letters.edges.map((edge) => edge.node.id));
    for (const id of this.view.selected) if (!shown.has(id)) this.view.selected.delete(id);
    this.succeed();
    this.follow();
  }

  draw() {
    super.draw();
    const all = this.element.querySelector('[name=all]');
    if (all && this.data) all.checked = this.view.selected.size === this.data.letters.edges.length;
  }

  /** While the database is blocked, the sections say so and need no data. */
  content() {
    return this.data || this.sessions === null || this.sessions?.length > 0 ? this.sections() : [];
  }

  notice() {
    return this.isBlocked ? null : super.notice();
  }

  sections() {
    const alarms = findAlarms(this.data, this.sessions);
    return [
      h('h1', { 'data-key': 'title' }, t('view.administration')),
      h('p', { class: 'error', role: 'alert', 'data-key': 'error' }, this.error),
      glance(this.data, alarms, this.isBlocked),
      this.isBlocked && this.data && h('p', { class: 'note', 'data-key': 'old' }, t('problem.old')),
      blockingSessions(this.sessions),
      ...(this.data ? this.parts() : []),
    ];
  }

  parts() {
    const { projections, letters, reasons, operations: latest, page, pageInfo, shards, arrivals: hours } = this.data;
    const { cursors } = this.view;
    return [
      h('div', { class: 'stacks', 'data-key': 'stacks' },
        h('div', { class: 'stack' },
          lag(projections), shardList(shards, this.sessions), arrivals(hours), undelivered(this.data.undelivered),
          senders(this.intake, this.examples)),
        h('div', { class: 'stack' },
          operations((cursors.length && page) || latest, pageInfo, cursors.length), schedules(this.data.schedules))),
      deadLetters(letters, reasons, this.view),
    ];
  }

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
    const outcome = replayOutcome(operation);
    const done = operation.state === 'SUCCEEDED' ? t('operation.done') : t('operation.notDone');
    this.announce(operation, outcome ? outcome.text.replace(/[.。]$/u, '') : done);
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
    if (input.name === 'kind') return this.select({ kind: input.value || null, reason: null });
    const all = input.name === 'all' ? this.element.querySelectorAll('[name=letter]') : [input];
    for (const box of all) {
      box.checked = input.checked;
      this.view.selected[input.checked ? 'add' : 'delete'](box.value);
    }
    this.draw();
  }

  /** Show the dead letters of a kind, or of a kind and a reason; the address keeps both. */
  select({ kind, reason }) {
    Object.assign(this.view, { kind, reason, first: PAGE_SIZE });
    const named = Object.entries({ kind, reason }).filter(([, text]) => text);
    const parameters = new URLSearchParams(named);
    history.replaceState(null, '', `#/administration${parameters.size ? `?${parameters}` : ''}`);
    return this.load();
  }

  /** Show another page of operations. `cursors` lead to it from the newest page, which needs none. */
  async turn(cursors) {
    this.view.cursors = cursors;
    await this.load();
    this.jump('operations');
  }

  /** Replay or discard the newest open dead letters of a group, at most 200. */
  async changeGroup(action, { kind, reason }) {
    const data = await this.mutate(GROUP, { kind, reason });
    const ids = data?.letters.edges.map((edge) => edge.node).filter((row) => !row.replayedAt).map((row) => row.id);
    if (!ids?.length) return;
    if (action === 'replay') await this.start('replay', { ids });
    else if (!this.closing.signal.aborted) await this.discard(ids);
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
      discard: () => this.discard(selectedIds(this.view)),
      group: () => this.select(button.dataset).then(() => this.jump('shown')),
      older: () => this.turn([...this.view.cursors, this.data.pageInfo.endCursor]),
      newer: () => this.turn(this.view.cursors.slice(0, -1)),
      everything: () => this.select({ kind: null, reason: null }),
      'replay-group': () => this.changeGroup('replay', button.dataset),
      'discard-group': () => this.changeGroup('discard', button.dataset),
      cancel: () => this.changeOperation('cancel', button.dataset.id),
      retry: () => this.changeOperation('retry', button.dataset.id),
      download: () => this.download(button.dataset.id),
      example: () => this.showExample(button.dataset.id),
    };
    actions[button.dataset.action]();
  }

  /** Save the file of an export. Its address is requested now, because it is valid for ten minutes only. */
  async download(id) {
    const data = await this.mutate(LINK, { id });
    if (data?.operation?.download) location.assign(data.operation.download.url);
    else if (data) this.load();
  }

  /** Show the event that a finding names; its learner can see who has read it. */
  async showExample(id) {
    const data = await this.mutate(EXAMPLE, { id });
    if (!data) return;
    this.examples[id] = data.events.edges[0]?.node ?? null;
    this.draw();
  }

  jump(id) {
    const target = this.element.querySelector(`#${id}`);
    target?.scrollIntoView();
    target?.focus({ preventScroll: true });
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
    const erasure = await this.use(() => import('./erase.js'));
    if (this.closing.signal.aborted) return;
    await erasure?.askErasure(async (user) => {
      await this.start('erase', { user });
      return this.error;
    });
  }

  /** Start an operation. A repeated attempt has the same idempotency key. */
  async start(name, args = {}) {
    const attempt = JSON.stringify([name, args]);
    this.keys[attempt] ??= crypto.randomUUID();
    const answer = await this.mutate(MUTATIONS[name], { key: this.keys[attempt], ...args });
    if (!answer) return;
    delete this.keys[attempt];
    this.clearSelection();
    this.view.cursors = [];
    this.announce(answer.operation, t('operation.isStarted'));
    this.insert(answer.operation, 0);
    this.draw();
    this.follow();
  }

  async changeOperation(name, id) {
    const answer = await this.mutate(CHANGES[name], { id });
    if (!answer) return;
    this.announce(answer.operation, name === 'cancel' ? t('operation.isCancelled') : t('operation.isResumed'));
    this.load();
  }

  async discard(ids) {
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
