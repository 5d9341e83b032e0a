// The section "My data", with the download of the data. What follows a click is in record_export.js.

import { h } from './dom.js';
import { t } from './i18n.js';
import { card, note, section } from './layout.js';
import * as session from './session.js';

export const button = (name, text) =>
  h('button', { type: 'button', class: 'button quiet', 'data-export': name, 'data-key': name }, text);

export class Download {
  /** `user` is null for the caller's own record; `draw` draws the view again. */
  constructor(user, shell, draw) {
    Object.assign(this, { user, shell, draw });
  }

  close() {
    this.isClosed = true;
    this.started?.close();
  }

  /**
   * The section. It says which data are kept. A user who may export the record also sees the download, and who has read
   * the record, as far as it is loaded.
   */
  section(readers, posts) {
    const kept = card('kept', t('data.kept'), 'wide',
      h('ul', { class: 'facts' }, ['events', 'settings', 'masked', 'readers', 'end'].map((name) =>
        h('li', null, t(`kept.${name}`))), posts?.map((text) => text && h('li', null, text))),
      this.user && ['support', 'admin'].includes(session.role()) && h('div', { class: 'tools' },
        h('a', { class: 'button quiet', href: `#/events/${encodeURIComponent(this.user)}` }, t('data.events'))));
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
      h('p', { class: 'error', role: 'alert' }, this.started?.error),
      this.started?.bar(),
      h('div', { class: 'tools' }, this.started?.buttons() ?? button('start', this.text)));
  }

  /** The text of the button that starts an export. */
  get text() {
    return t(this.user ? 'data.getTheirs' : 'data.get');
  }

  /** Start or cancel an export; throw an error if its module does not arrive. */
  async click(name) {
    const { RecordExport } = await import('./record_export.js');
    if (!this.isClosed) (this.started ??= new RecordExport(this)).click(name);
  }
}
