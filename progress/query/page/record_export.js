// The export of a learner's record: the user starts it, can cancel it while it runs, and saves the exported file.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { button } from './layout.js';
import { OPERATION, hasEnded, progress, size } from './operation.js';
import { Subscription } from './stream.js';

const FIELDS = `${OPERATION} download { url expiresAt bytes }`;
const START = `mutation Export($user: ID, $key: ID!) {
  operation: exportUser(userId: $user, idempotencyKey: $key) { ${FIELDS} }
}`;
const CANCEL = `mutation Cancel($id: ID!) { operation: cancelOperation(id: $id) { ${FIELDS} } }`;
const FETCH = `query Export($id: ID!) { operation(id: $id) { ${FIELDS} } }`;
const SUBSCRIPTION = `subscription FollowExport($id: ID!) { operation: operationUpdated(id: $id) { ${FIELDS} } }`;
const RENEWAL_MS = 540_000; // the file's URL is valid for 600 s; it is replaced a minute earlier

export class RecordExport {
  constructor(owner) {
    Object.assign(this, { owner, operation: null, error: null });
  }

  close() {
    this.subscription?.close();
    clearTimeout(this.renewal);
    this.isClosed = true;
  }

  get isRunning() {
    return Boolean(this.operation) && !hasEnded(this.operation);
  }

  bar() {
    return this.isRunning ? progress(this.operation) : null;
  }

  buttons() {
    if (this.isRunning) return [button('export', 'cancel', t('data.cancel'))];
    const { state, download } = this.operation ?? {};
    const hasFailed = state && state !== 'SUCCEEDED';
    return [
      download && h('a', { class: 'button', href: download.url, download: true, 'data-key': 'file' },
        t('data.save', { size: size(download) })),
      button('export', 'start', t(hasFailed ? 'problem.tryAgain' : 'data.get')),
    ];
  }

  click(name) {
    if (name === 'start') this.start();
    else this.change(CANCEL, { id: this.operation.id });
  }

  /** Start an export. If the request fails, the next attempt has the same idempotency key. */
  async start() {
    this.key ??= crypto.randomUUID();
    if (!await this.change(START, { user: this.owner.user, key: this.key })) return;
    this.key = null;
    this.owner.shell.announce(t('data.started'));
    this.subscription?.close();
    const { id } = this.operation;
    this.subscription = new Subscription(SUBSCRIPTION, { id }, {
      data: ({ operation }) => this.onChange(operation),
      state: (state) => state.kind && this.change(FETCH, { id }),
    });
  }

  onChange(operation) {
    this.show(operation);
    if (hasEnded(operation)) {
      this.subscription?.close();
      const isDone = operation.state === 'SUCCEEDED';
      this.error = isDone ? null : t('data.failed', { reason: operation.error });
      this.owner.shell.announce(t(isDone ? 'data.done' : 'data.notDone'));
    }
    this.owner.draw();
  }

  /** Show the operation. The answer is null if there is none: one that runs stays, a file that has gone does not. */
  show(operation) {
    if (!operation && this.isRunning) return;
    this.operation = operation;
    clearTimeout(this.renewal);
    if (!operation?.download || this.isClosed) return;
    this.renewal = setTimeout(() => this.change(FETCH, { id: operation.id }), RENEWAL_MS);
  }

  /** Send a request about the operation, or show its error. Return whether it succeeded and the view is still open. */
  async change(query, variables) {
    this.error = null;
    try {
      this.show((await runQuery(query, variables)).data.operation);
      return !this.isClosed;
    } catch (problem) {
      if (!problem.kind) throw problem;
      if (problem.kind === 'signed-out') this.owner.shell.signedOut();
      else this.error = t('data.rejected', { reason: problem.message });
      return false;
    } finally {
      if (!this.isClosed) this.owner.draw();
    }
  }
}
