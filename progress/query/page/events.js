// The recorded events of a learner, newest first, for support and administrators. The URL's parameter `event` names an
// event to open; `kind` and `reason` name the dead letters from which the user came.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { moment } from './format.js';
import { t } from './i18n.js';
import { button, note } from './layout.js';
import { learnName, nameOf } from './names.js';
import { View } from './problems.js';

const QUERY = `query Events($user: ID, $after: String) {
  who: userProgress(userId: $user) { displayName }
  events(userId: $user, first: 50, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { eventId eventType retracted data occurredAt recordedAt globalPosition } }
  }
}`;

const MAX_PAGES = 20; // that are loaded to find an event
// An id of another form is recorded under an id that follows from it
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export class Events extends View {
  constructor(element, user, parameters, shell) {
    super(element, shell, { user, parameters });
    this.on('click', ({ target }) => {
      if (target.closest('[data-more]')) this.load();
      const { retracted } = target.closest('[data-retracted]')?.dataset ?? {};
      if (retracted) this.goTo(retracted);
    });
    this.naming = this.load();
  }

  /** Load the next page of events; abort an older request. After the first page, go to the event that the URL names. */
  async load() {
    const wanted = !this.data && this.parameters.get('event');
    return this.attempt(async (signal) => {
      const after = this.data?.pageInfo.endCursor ?? null;
      const { data: { who, events } } = await runQuery(QUERY, { user: this.user, after }, signal);
      if (signal.aborted) return;
      const rows = [...(this.data?.rows ?? []), ...events.edges.map((edge) => edge.node)];
      this.data = { rows, pageInfo: events.pageInfo };
      learnName('learner', this.user, who?.displayName);
      this.shell.named();
      this.succeed();
      if (wanted) await this.goTo(wanted);
    });
  }

  /** Open an event, and go to it. If the list has it only on a further page, load this page. */
  async goTo(eventId) {
    const find = () => this.element.querySelector(`[data-key="${eventId}"] details`);
    for (let pages = 0; !find() && this.data.pageInfo.hasNextPage && !this.problem && pages < MAX_PAGES; pages += 1) {
      await this.load();
      if (this.closing.signal.aborted) return;
    }
    const details = find();
    if (!details) {
      this.shell.announce(t('events.notHere', { event: eventId }));
      return;
    }
    details.open = true;
    details.parentElement.scrollIntoView({ block: 'center' });
    details.firstElementChild.focus({ preventScroll: true });
  }

  sections() {
    const { rows, pageInfo } = this.data;
    const wanted = this.parameters.get('event');
    const isMissing = wanted && !rows.some((row) => row.eventId === wanted);
    const name = nameOf('learner', this.user);
    const from = this.parameters.get('reason') && `#/administration?${this.parameters}`;
    return [
      h('header', { class: 'head', 'data-key': 'head' }, h('div', null,
        from && h('a', { class: 'back', href: from }, t('letters.title')),
        h('h1', null, t('events.title', { user: name })),
        name !== this.user && note(h('span', { translate: 'no' }, this.user)))),
      h('section', { class: 'card wide', 'aria-label': t('data.events'), 'data-key': 'events' },
        note(t(rows.length ? 'events.meaning' : 'events.none')),
        isMissing && note(t(pageInfo.hasNextPage ? 'events.notHere' : 'events.notRecorded', { event: wanted })),
        h('ul', { class: 'letters' }, rows.map(event)),
        h('div', { class: 'tools' },
          pageInfo.hasNextPage && button('more', 'more', t('items.more')),
          h('a', { class: 'button quiet', href: `#/learner/${encodeURIComponent(this.user)}` }, t('events.learner')))),
    ];
  }
}

function event({ eventId, eventType, retracted, data, occurredAt, recordedAt, globalPosition }) {
  const content = JSON.parse(data);
  const target = eventType === 'EventRetracted' && content.retracted_event_id.toLowerCase();
  return h('li', { 'data-key': eventId },
    h(retracted ? 's' : 'b', { lang: 'en', translate: 'no' }, eventType),
    retracted && h('span', { class: 'unseen' }, ' ', t('events.retracted')),
    h('span', { class: 'of' }, t('events.times', { occurred: moment(occurredAt), recorded: moment(recordedAt) })),
    h('details', null,
      h('summary', null, t('events.content'), h('span', { class: 'unseen' }, ' ', globalPosition)),
      h('pre', { tabindex: 0, role: 'region', 'aria-label': eventId },
        JSON.stringify(content, null, 2))),
    target && UUID.test(target) && h('p', { class: 'links' },
      h('button', { type: 'button', class: 'button quiet', 'data-retracted': target }, t('events.target'))));
}
