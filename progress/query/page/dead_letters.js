// Dead letters: the messages that could not be recorded, with their reasons and actions.

import { h } from './dom.js';
import { count, moment, number } from './format.js';

const KINDS = {
  INVALID: 'Invalid', MALFORMED: 'Malformed', CONFLICT: 'Conflict', FUTURE: 'Ahead of time',
  SESSION_OWNER: 'Another’s session', POISONED: 'Not foldable',
};

/** The section of the dead letters. `view` has the kind to show and the ids of the selected dead letters. */
export function deadLetters({ totalCount, pageInfo, edges }, view) {
  const rows = edges.map((edge) => edge.node);
  return h('section', { class: 'card', 'aria-labelledby': 'letters', 'data-key': 'letters' },
    h('div', { class: 'head' }, h('h2', { id: 'letters' }, 'Dead letters'), kindFilter(view)),
    h('p', { class: 'note' }, totalCount
      ? `${count(totalCount, 'message or event', 'messages and events')} could not be recorded as received.`
      : 'Everything that was received is recorded.'),
    rows.length > 0 && toolbar(view),
    h('ul', { class: 'letters' }, rows.map(letter)),
    pageInfo.hasNextPage &&
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'more' }, 'Show more'));
}

function kindFilter({ kind }) {
  return h('label', { class: 'kinds' }, h('span', { class: 'unseen' }, 'Kind'),
    h('select', { name: 'kind' }, h('option', { value: '' }, 'All kinds'),
      Object.entries(KINDS).map(([value, name]) => h('option', { value, selected: value === kind }, name))));
}

function toolbar(view) {
  const isDisabled = view.selected.size === 0 && 'true';
  const suffix = view.selected.size ? ` ${number(view.selected.size)}` : '';
  const button = (action, name, style) =>
    h('button', { type: 'button', class: `button ${style}`, 'data-action': action, 'aria-disabled': isDisabled }, name, suffix);
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
      h('summary', null, 'As received', h('span', { class: 'unseen' }, `, dead letter ${row.id}`)),
      h('pre', { tabindex: 0, role: 'region', 'aria-label': `Dead letter ${row.id} as received` },
        formatJson(row.payload)),
      isTruncated(row) && h('p', { class: 'of' },
        `Only the first 16 KiB. To see all of it: progress dead-letters show ${row.id}`)));
}

/** The API cuts a payload at 16,384 bytes, or up to three bytes earlier in order not to split a character. */
const isTruncated = (row) => new TextEncoder().encode(row.payload).length > 16_380;

function formatJson(payload) {
  try {
    return JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload;
  }
}

/** The ids of the selected dead letters. */
export const selectedIds = (view) => [...view.selected].sort();

/** Ask for confirmation. Resolve to the entered text (without `prompt`, to true), or to null if cancelled. */
export function confirm({ title, text, action, prompt }) {
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, h('form', null,
    h('h2', { id: 'dialog-title' }, title), h('p', null, text),
    prompt && [h('label', { for: 'answer' }, prompt),
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
      answer = prompt ? new FormData(event.target).get('answer').trim() : true;
      dialog.close();
    });
    dialog.addEventListener('close', () => (dialog.remove(), resolve(answer)), { once: true });
  });
}
