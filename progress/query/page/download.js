// The section "My data", with the download of the data. The user starts an export, can cancel it while it runs, and
// saves the exported file.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { card, note, section } from './layout.js';
import { OPERATION, hasEnded, progress, size } from './operation.js';
import * as session from './session.js';
import { Subscription } from './stream.js';

const FIELDS = `${OPERATION} download { url expiresAt bytes }`;
const START = `mutation Export($user: ID, $key: ID!) {
  operation: exportUser(userId: $user, idempotencyKey: $key) { ${FIELDS} }
}`;
const CANCEL = `mutation Cancel($id: ID!) { operation: cancelOperation(id: $id) { ${FIELDS} } }`;
const FETCH = `query Export($id: ID!) { operation(id: $id) { ${FIELDS} } }`;
const SUBSCRIPTION = `subscription FollowExport($id: ID!) { operation: operationUpdated(id: $id) { ${FIELDS} } }`;
const RENEWAL_MS = 540_000; // the file's URL is valid for 600 s; it is replaced a minute earlier

export class Download {
  /** `user` is null for the caller's own record; `draw` draws the view again. */
  constructor(user, shell, draw) {
    Object.assign(this, { user, shell, draw, operation: null, error: null });
  }

  close() {
    this.subscription?.close();
    clearTimeout(this.renewal);
    this.isClosed = true;
  }

  /**
   * The section. It says which data are kept. A user who may export the record also sees the download, and who has read
   * the record, as far as it is loaded.
   */
  section(readers) {
    const kept = card('kept', t('data.kept'), 'wide',
      h('ul', { class: 'facts' }, ['events', 'settings', 'masked', 'readers', 'end'].map((name) =>
        h('li', null, t(`kept.${name}`)))));
    const read = card('readers', t('readers.title'), null, note(t('readers.meaning')), readers?.content());
    return section('my-data', t(this.user ? 'data.theirs' : 'data.title'),
      this.isAllowed && [this.card(), read], kept);
  }

  get isAllowed() {
    return session.role() === 'admin' || !this.user;
  }

  card() {
    return card('download', t('data.download'), null,
      note(t('data.meaning')),
      h('p', { class: 'error', role: 'alert' }, this.error),
      this.isRunning ? progress(this.operation) : null,
      h('div', { class: 'tools' }, this.buttons()));
  }

  get isRunning() {
    return Boolean(this.operation) && !hasEnded(this.operation);
  }

  buttons() {
    const button = (name, text) =>
      h('button', { type: 'button', class: 'button quiet', 'data-export': name, 'data-key': name }, text);
    if (this.isRunning) return [button('cancel', t('data.cancel'))];
    const { state, download } = this.operation ?? {};
    const hasFailed = state && state !== 'SUCCEEDED';
    return [
      download && h('a', { class: 'button', href: download.url, download: true, 'data-key': 'file' },
        t('data.save', { size: size(download) })),
      button('start', t(hasFailed ? 'problem.tryAgain' : this.user ? 'data.getTheirs' : 'data.get')),
    ];
  }

  click(name) {
    if (name === 'start') this.start();
    else this.change(CANCEL, { id: this.operation.id });
  }

  /** Start an export. If the request fails, the next attempt has the same idempotency key. */
  async start() {
    this.key ??= crypto.randomUUID();
    if (!await this.change(START, { user: this.user, key: this.key })) return;
    this.key = null;
    this.shell.announce(t('data.started'));
    this.subscription?.close();
    this.subscription = new Subscription(SUBSCRIPTION, { id: this.operation.id }, {
      data: ({ operation }) => this.onChange(operation),
      state: (state) => state.kind && this.change(FETCH, { id: this.operation.id }),
    });
  }

  onChange(operation) {
    this.show(operation);
    if (hasEnded(operation)) {
      this.subscription?.close();
      const isDone = operation.state === 'SUCCEEDED';
      this.error = isDone ? null : t('data.failed', { reason: operation.error });
      this.shell.announce(t(isDone ? 'data.done' : 'data.notDone'));
    }
    this.draw();
  }

  show(operation) {
    this.operation = operation;
    clearTimeout(this.renewal);
    if (!operation.download || this.isClosed) return;
    this.renewal = setTimeout(() => this.change(FETCH, { id: operation.id }), RENEWAL_MS);
  }

  /**
   * Send a request about the operation. If the request fails, show the error. Return true if the request succeeded and
   * the view is still open.
   */
  async change(query, variables) {
    this.error = null;
    try {
      this.show((await runQuery(query, variables)).data.operation);
      return !this.isClosed;
    } catch (problem) {
      if (!problem.kind) throw problem;
      if (problem.kind === 'signed-out') this.shell.signedOut();
      else this.error = t('data.rejected', { reason: problem.message });
      return false;
    } finally {
      if (!this.isClosed) this.draw();
    }
  }
}
