// The administrator's part: how far the projections are, what could not be recorded, what is being done.

import { ask } from './api.js';
import { h, show } from './dom.js';
import { chosen, confirmed, letters } from './letters.js';
import { count, distance, number, seconds } from './format.js';
import { OPERATION, isOver, kindOf, operations } from './operations.js';
import { Retry, failed, problemCard } from './problems.js';
import { Subscription } from './stream.js';

const QUESTION = `query Administration($kind: DeadLetterKind, $first: Int) {
  projections: projectionStatus { name eventsBehind secondsBehind status updatedAt }
  letters: deadLetters(kind: $kind, first: $first) {
    totalCount
    pageInfo { hasNextPage }
    edges { node { id kind topic eventId eventType reason payload receivedAt replayedAt } }
  }
  operations(first: 10) { edges { node { ${OPERATION} } } }
}`;
const FOLLOW = `subscription Follow($id: ID!) { operation: operationUpdated(id: $id) { ${OPERATION} } }`;
const START = (mutation, parameters = '', given = '') =>
  `mutation Start($key: ID!${parameters}) {
    operation: ${mutation}(idempotencyKey: $key${given}) { ${OPERATION} }
  }`;
const MUTATIONS = {
  batch: START('runBatch'),
  rebuild: START('rebuildProjections'),
  replay: START('replayDeadLetters', ', $ids: [ID!]!', ', ids: $ids'),
};
const DISCARD = `mutation Discard($ids: [ID!]!, $reason: String!) {
  discarded: discardDeadLetters(ids: $ids, reason: $reason)
}`;

const EVERY = 10_000; // milliseconds
const AT_ONCE = 2; // operations that are followed live: a browser opens six connections
const PAGE = 20;
const MOST = 200;

export class Administration {
  constructor(place, shell) {
    Object.assign(this, { place, shell, data: null, problem: null, refusal: null });
    this.view = { kind: null, first: PAGE, chosen: new Set() };
    this.keys = {}; // one for each thing to be done, until it is known to have been accepted
    this.lines = new Map();
    this.closing = new AbortController();
    this.retry = new Retry(() => this.load());
    this.listen();
    this.load();
    this.clock = setInterval(() => document.hidden || this.load(), EVERY);
  }

  close() {
    this.closing.abort();
    this.retry.stop();
    clearInterval(this.clock);
    for (const line of this.lines.values()) line.close();
  }

  async load() {
    const { kind, first } = this.view;
    const turn = (this.turn = Symbol('only the last question counts'));
    const isOld = () => this.closing.signal.aborted || this.turn !== turn;
    try {
      const { data } = await ask(QUESTION, { kind, first });
      if (!isOld()) this.take(data);
    } catch (problem) {
      if (!isOld()) failed(this, problem);
    }
  }

  take({ projections, letters: found, operations: all }) {
    const known = all.edges.map((edge) => edge.node);
    this.data = { projections, letters: found, operations: known };
    const there = new Set(found.edges.map((edge) => edge.node.id));
    for (const id of this.view.chosen) if (!there.has(id)) this.view.chosen.delete(id);
    this.problem = null;
    this.retry.succeeded();
    this.draw();
    this.follow();
  }

  draw() {
    const problem = this.problem && problemCard(this.problem, this.retry, Boolean(this.data));
    this.place.setAttribute('aria-busy', String(!this.data && !this.problem));
    show(this.place, this.data ? this.sections() : [], problem);
    const all = this.place.querySelector('[name=all]');
    if (all) all.checked = this.view.chosen.size === this.data.letters.edges.length;
  }

  sections() {
    const { projections, letters: found, operations: known } = this.data;
    return [
      h('h1', { 'data-key': 'title' }, 'Administration'),
      h('p', { class: 'refusal', role: 'alert', 'data-key': 'refusal' }, this.refusal),
      lag(projections), letters(found, this.view), operations(known),
    ];
  }

  /** Hear of the operations that are going on. */
  follow() {
    const going = this.data.operations.filter((each) => !isOver(each)).slice(0, AT_ONCE);
    for (const { id } of going) {
      if (this.lines.has(id)) continue;
      this.lines.set(id, new Subscription(FOLLOW, { id }, {
        data: ({ operation }) => this.hear(operation),
        state: () => {},
      }));
    }
  }

  hear(operation) {
    const at = this.data.operations.findIndex((each) => each.id === operation.id);
    this.put(operation, Math.max(at, 0));
    this.draw();
    if (!isOver(operation)) return;
    this.lines.get(operation.id)?.close();
    this.shell.say(`${kindOf(operation)}: ${operation.state === 'SUCCEEDED' ? 'done' : 'not done'}.`);
    this.load();
  }

  put(operation, at) {
    const rest = this.data.operations.filter((each) => each.id !== operation.id);
    this.data.operations = rest.toSpliced(at, 0, operation);
  }

  listen() {
    const on = (type, act) => this.place.addEventListener(type, act, { signal: this.closing.signal });
    on('click', (event) => this.click(event.target.closest('[data-do]')));
    on('change', (event) => this.change(event.target));
  }

  change(input) {
    if (input.name === 'kind') Object.assign(this.view, { kind: input.value || null, first: PAGE });
    if (input.name === 'kind') return this.load();
    const all = input.name === 'all' ? this.place.querySelectorAll('[name=letter]') : [input];
    for (const box of all) {
      box.checked = input.checked;
      this.view.chosen[input.checked ? 'add' : 'delete'](box.value);
    }
    this.draw();
  }

  click(button) {
    if (!button || button.getAttribute('aria-disabled') === 'true') return;
    const acts = {
      more: () => this.more(),
      batch: () => this.start('batch'),
      rebuild: () => this.rebuild(),
      replay: () => this.start('replay', { ids: chosen(this.view) }),
      discard: () => this.discard(),
    };
    acts[button.dataset.do]();
  }

  more() {
    this.view.first = Math.min(this.view.first + PAGE, MOST);
    this.load();
  }

  async rebuild() {
    const sure = await confirmed({
      title: 'Rebuild all projections?',
      text: `They are computed anew from the whole record, beside those that are read now,
        and take their place at the end.`,
      action: 'Rebuild',
    });
    if (sure) this.start('rebuild');
  }

  /** The same wish, tried again, is the same operation. */
  async start(what, given = {}) {
    const wish = JSON.stringify([what, given]);
    this.keys[wish] ??= crypto.randomUUID();
    const answer = await this.tried(MUTATIONS[what], { key: this.keys[wish], ...given });
    if (!answer) return;
    delete this.keys[wish];
    this.uncheck();
    this.shell.say(`${kindOf(answer.operation)}: started.`);
    this.put(answer.operation, 0);
    this.draw();
    this.follow();
  }

  async discard() {
    const ids = chosen(this.view);
    const reason = await confirmed({
      title: `Discard ${ids.length === 1 ? 'this letter' : `${number(ids.length)} letters`}?`,
      text: 'What they hold will never be recorded. The letters themselves are kept, with your reason.',
      action: 'Discard',
      asks: 'Reason',
    });
    if (!reason) return;
    const answer = await this.tried(DISCARD, { ids, reason });
    if (!answer) return;
    this.uncheck();
    this.shell.say(`${number(answer.discarded)} discarded.`);
    this.load();
  }

  uncheck() {
    this.view.chosen.clear();
    for (const box of this.place.querySelectorAll('[type=checkbox]')) box.checked = false;
  }

  /** The mutation's data; null where it was refused, and the page says why. */
  async tried(mutation, variables) {
    this.refusal = null;
    try {
      return (await ask(mutation, variables)).data;
    } catch (problem) {
      if (!problem.kind) throw problem;
      if (problem.kind === 'signed-out') this.shell.signedOut();
      else this.refusal = `Not done: ${problem.message}. Try again.`;
      return null;
    } finally {
      if (!this.closing.signal.aborted) this.draw();
    }
  }
}

function lag(rows) {
  const late = rows.filter((row) => row.status === 'CRITICAL').length;
  return h('section', { class: 'card', 'aria-labelledby': 'lag', 'data-key': 'lag' },
    h('h2', { id: 'lag' }, 'Projections'),
    h('p', { class: 'note' }, late ? `${late} of ${rows.length} are too far behind.` : 'All of them keep up.'),
    h('table', { class: 'rows' },
      h('thead', null, h('tr', null, ['Projection', 'State', 'Behind'].map((name, at) =>
        h('th', { scope: 'col', class: at > 1 ? 'end' : null }, name)))),
      h('tbody', null, rows.map(line))));
}

function line(row) {
  const critical = row.status === 'CRITICAL';
  return h('tr', null,
    h('th', { scope: 'row' }, row.name.replaceAll('_', ' '),
      h('span', { class: 'of' }, row.updatedAt ? `moved ${distance(row.updatedAt)}` : 'never moved')),
    h('td', null, h('span', { class: `chip ${critical ? 'bad' : 'good'}` }, critical ? 'Behind' : 'Normal')),
    h('td', { class: 'end' }, count(row.eventsBehind, 'event', 'events'),
      h('span', { class: 'of' }, seconds(row.secondsBehind))));
}
