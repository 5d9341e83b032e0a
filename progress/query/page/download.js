// The section "My data", with the download of the data. What follows a click is in record_export.js.

import { h } from './dom.js';
import { t, withTexts } from './i18n.js';
import { button, card, note, section } from './layout.js';
import * as session from './signed_in.js';

export class Download {
  constructor(user, shell, draw) {
    Object.assign(this, { user, shell, draw });
  }

  close() {
    this.isClosed = true;
    this.started?.close();
  }

  /** The section. A user who may export the record also sees the download, and who has read the record. */
  section(readers) {
    const link = (view, text) =>
      h('a', { class: 'button quiet', href: `#/${view}/${encodeURIComponent(this.user ?? '')}` }, text);
    return section('my-data', t(this.user ? 'data.theirs' : 'data.title'),
      this.isAllowed && [
        this.card(), card('readers', t('readers.title'), null, note(t('readers.meaning')), readers?.content()),
      ],
      h('div', { class: 'tools' }, link('kept', t('data.kept')),
        this.user && session.isStaff() && link('events', t('data.events'))));
  }

  get isAllowed() {
    return session.role() === 'admin' || !this.user;
  }

  card() {
    return card('download', t('data.download'), null,
      note(t('data.meaning')),
      h('p', { class: 'error', role: 'alert' }, this.started?.error),
      this.started?.bar(),
      h('div', { class: 'tools' }, this.started?.buttons() ?? button('export', 'start', t('data.get'))));
  }

  /** Start or cancel an export; throw an error if its module does not arrive. */
  async click(name) {
    const { RecordExport } = await withTexts(import('./record_export.js'));
    if (!this.isClosed) (this.started ??= new RecordExport(this)).click(name);
  }
}
