// Dead letters: what could not be recorded, why, and what to do about it.

import { h } from './dom.js';
import { count, moment, number } from './format.js';

const KINDS = {
  INVALID: 'Invalid', MALFORMED: 'Malformed', CONFLICT: 'Conflict', FUTURE: 'Ahead of time',
  SESSION_OWNER: 'Another’s session', POISONED: 'Not foldable',
};

/** The section; `view` has the kind that is looked for and the letters that are ticked. */
export function letters({ totalCount, pageInfo, edges }, view) {
  const rows = edges.map((edge) => edge.node);
  return h('section', { class: 'card', 'aria-labelledby': 'letters', 'data-key': 'letters' },
    h('div', { class: 'head' }, h('h2', { id: 'letters' }, 'Dead letters'), kinds(view)),
    h('p', { class: 'note' }, totalCount
      ? `${count(totalCount, 'message or event', 'messages and events')} could not be recorded as received.`
      : 'Everything that was received is recorded.'),
    rows.length > 0 && tools(view),
    h('ul', { class: 'letters' }, rows.map(letter)),
    pageInfo.hasNextPage &&
      h('button', { type: 'button', class: 'button quiet', 'data-do': 'more' }, 'Show more'));
}

function kinds({ kind }) {
  return h('label', { class: 'kinds' }, h('span', { class: 'unseen' }, 'Kind'),
    h('select', { name: 'kind' }, h('option', { value: '' }, 'All kinds'),
      Object.entries(KINDS).map(([value, name]) => h('option', { value, selected: value === kind }, name))));
}

function tools(view) {
  const none = view.chosen.size === 0 && 'true';
  const many = view.chosen.size ? ` ${number(view.chosen.size)}` : '';
  const button = (what, name, look) =>
    h('button', { type: 'button', class: `button ${look}`, 'data-do': what, 'aria-disabled': none }, name, many);
  return h('div', { class: 'tools' },
    h('label', { class: 'tick' }, h('input', { type: 'checkbox', name: 'all' }), 'All of these'),
    button('replay', 'Replay', ''), button('discard', 'Discard', 'quiet'));
}

function letter(row) {
  const replayed = row.replayedAt && `replayed ${moment(row.replayedAt)}`;
  const facts = [KINDS[row.kind], row.eventType, row.topic, moment(row.receivedAt), replayed];
  return h('li', { 'data-key': row.id },
    h('label', { class: 'tick' },
      h('input', { type: 'checkbox', name: 'letter', value: row.id }),
      h('span', null, h('b', null, row.reason),
        h('span', { class: 'of' }, facts.filter(Boolean).join(' · ')))),
    h('details', null,
      h('summary', null, 'As received', h('span', { class: 'unseen' }, `, letter ${row.id}`)),
      h('pre', { tabindex: 0, role: 'region', 'aria-label': `Letter ${row.id} as received` },
        pretty(row.payload)),
      isCut(row) && h('p', { class: 'of' },
        `The first 16 KiB: progress dead-letters show ${row.id} has all of it.`)));
}

/** The API cuts a payload where its 16,384th byte is, or up to three bytes before. */
const isCut = (row) => new TextEncoder().encode(row.payload).length > 16_380;

function pretty(payload) {
  try {
    return JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload;
  }
}

/** The ids of the letters that are ticked. */
export const chosen = (view) => [...view.chosen].sort();

/** Whether the reader wants it: their answer where something is asked, else true; null if not. */
export function confirmed({ title, text, action, asks }) {
  const dialog = h('dialog', { 'aria-labelledby': 'asked' }, h('form', null,
    h('h2', { id: 'asked' }, title), h('p', null, text),
    asks && [h('label', { for: 'answer' }, asks),
      h('textarea', { id: 'answer', name: 'answer', required: true, maxlength: 500, rows: 3 })],
    h('div', { class: 'tools' }, h('button', { class: 'button' }, action),
      h('button', { type: 'button', class: 'button quiet', value: 'no' }, 'Cancel'))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    let answer = null;
    dialog.querySelector('[value=no]').addEventListener('click', () => dialog.close());
    dialog.addEventListener('submit', (event) => {
      event.preventDefault();
      answer = asks ? new FormData(event.target).get('answer').trim() : true;
      dialog.close();
    });
    dialog.addEventListener('close', () => (dialog.remove(), resolve(answer)), { once: true });
  });
}
