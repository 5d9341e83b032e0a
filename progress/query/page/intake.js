// What senders send and what does not count, or counts wrongly: what it means, what to do, and an event as an example.

import { h } from './dom.js';
import { t } from './i18n.js';
import { note, panel } from './layout.js';

export const EXAMPLE = `query Example($id: ID!) {
  events(eventId: $id) { edges { node { eventType streamId occurredAt recordedAt postedBy data } } }
}`;

/** The findings. `examples` are the events that were asked for, by their id; null: it is not recorded. */
export const senders = ({ events, findings }, examples) => panel('intake', t('intake.title'), null,
  note(t(findings.length ? 'intake.found' : 'intake.none', { count: events })),
  h('ul', { class: 'letters' }, findings.map((row) => finding(row, examples[row.example]))));

function finding({ kind, name, meant, count, example }, event) {
  const shown = event && JSON.stringify({ ...event, data: JSON.parse(event.data) }, null, 2);
  return h('li', { 'data-key': `${kind} ${name}` },
    h('b', null, t(`intake.kinds.${kind}`, { count })),
    name && h('span', { translate: 'no' }, ' ', name),
    h('span', { class: 'of' }, meant ? t('intake.meant', { meant }) : t(`intake.mend.${kind}`)),
    event === undefined && h('p', { class: 'links' },
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'example', 'data-id': example },
        t('intake.example'), h('span', { class: 'unseen' }, ' ', example))),
    event !== undefined && h('pre', { tabindex: 0, role: 'region', 'aria-label': example },
      shown ?? t('intake.waits')));
}
