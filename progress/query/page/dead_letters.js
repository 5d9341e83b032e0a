// Dead letters, which could not be recorded or folded: why, and the buttons that replay or discard them.

import { h } from './dom.js';
import { moment, number } from './format.js';
import { parts, t } from './i18n.js';

export const KINDS = ['INVALID', 'MALFORMED', 'CONFLICT', 'FUTURE', 'SESSION_OWNER', 'POISONED'];

/** The number of all open dead letters, whatever the page shows of them. */
export const countOpen = (reasons) => reasons.reduce((total, { count }) => total + count, 0);

/** The groups with the same reason, and single dead letters. `view` has the selected kind, reason and ids. */
export function deadLetters({ totalCount, pageInfo, edges }, reasons, view) {
  const rows = edges.map((edge) => edge.node);
  const isFiltered = view.kind !== null || view.reason !== null;
  const open = countOpen(reasons);
  return h('section', { class: 'card wide', 'aria-labelledby': 'letters', 'data-key': 'letters' },
    h('div', { class: 'head' }, h('h2', { id: 'letters', tabindex: -1 }, t('letters.title')), kindFilter(view)),
    h('p', { class: 'note' }, open ? t('letters.found', { count: open }) : t('letters.none')),
    h('ul', { class: 'reasons' }, reasons.map((group, index) => reasonGroup(group, view, index))),
    isFiltered && h('p', { class: 'note', id: 'shown', tabindex: -1 },
      t('letters.filtered', { count: totalCount }), ' ',
      h('button', { type: 'button', class: 'plain', 'data-action': 'everything' }, t('letters.everything'))),
    rows.length > 0 && toolbar(view),
    h('ul', { class: 'letters' }, rows.map(letter)),
    pageInfo.hasNextPage &&
      h('button', { type: 'button', class: 'button quiet', 'data-action': 'more' }, t('items.more')));
}

function reasonGroup({ kind, reason, count, newest }, view, index) {
  const names = { 'data-kind': kind, 'data-reason': reason, 'aria-describedby': `reason-${index}` };
  const isAll = count <= 200;
  const button = (action, text) => h('button', {
    type: 'button', class: 'button quiet', 'data-action': action, ...names,
    'aria-pressed': action === 'group' ? String(view.kind === kind && view.reason === reason) : null,
  }, text);
  return h('li', { 'data-key': `${kind} ${reason}` },
    h('p', { id: `reason-${index}` }, h('b', null, number(count)), ' ', sayReason(reason),
      h('span', { class: 'of' }, t('letters.newest', { kind: t(`letters.kinds.${kind}`), time: moment(newest) }))),
    h('div', { class: 'tools' },
      button('group', t('frame.show')),
      button('replay-group', t(isAll ? 'letters.replayAll' : 'letters.replaySome', { count })),
      button('discard-group', t(isAll ? 'letters.discardAll' : 'letters.discardSome', { count }))));
}

// The most frequent reasons as the server writes them, and the keys of their texts.
const PATTERNS = [
  [/the event has no data/, 'noData'],
  [/^expected .+, found none/, 'missing'], // before the rules, because such a reason names one, too
  [/^expected an integer from (?<from>\S+) to (?<to>\S+)/, 'integer'],
  [/^expected a string of (?<from>\S+) to (?<to>\S+) characters/, 'text'],
  [/^expected an object/, 'object'],
  [/^expected (?:JSON|UTF-8)/, 'json'],
  [/^expected the same content as the first event/, 'conflict'],
  [/^expected a time at most 10 minutes ahead/, 'future'],
  [/^expected the learner of the session/, 'session'],
];

const PLACE = / - at (\$\S*)$/;

/** The reason in the page's language or, if it is not one of the frequent reasons, as the server writes it. */
export function sayReason(reason) {
  const [pattern, key] = PATTERNS.find(([one]) => one.test(reason)) ?? [];
  if (!key) return h('span', { lang: 'en' }, reason);
  const place = PLACE.exec(reason)?.[1];
  const said = t(`letters.reasons.${key}`, pattern.exec(reason).groups);
  const code = h('span', { translate: 'no' }, place);
  return h('span', null, place ? parts('letters.reasonAt', { reason: said, place: code }) : said);
}

function kindFilter({ kind }) {
  return h('label', { class: 'control' }, h('span', null, t('letters.kind')),
    h('select', { name: 'kind' }, h('option', { value: '' }, t('letters.allKinds')),
      KINDS.map((value) => h('option', { value, selected: value === kind }, t(`letters.kinds.${value}`)))));
}

function toolbar(view) {
  const isDisabled = view.selected.size === 0 && 'true';
  const suffix = view.selected.size ? ` ${number(view.selected.size)}` : '';
  const button = (action, name, style) =>
    h('button', { type: 'button', class: `button ${style}`, 'data-action': action, 'aria-disabled': isDisabled },
      name, suffix);
  return h('div', { class: 'tools' },
    h('label', { class: 'tick' }, h('input', { type: 'checkbox', name: 'all' }), t('letters.all')),
    button('replay', t('letters.replay'), ''), button('discard', t('letters.discard'), 'quiet'));
}

function letter(row) {
  const replayed = row.replayedAt && t('letters.replayed', { time: moment(row.replayedAt) });
  const facts = [t(`letters.kinds.${row.kind}`), row.eventType, row.topic, moment(row.receivedAt), replayed];
  return h('li', { 'data-key': row.id },
    h('label', { class: 'tick' },
      h('input', { type: 'checkbox', name: 'letter', value: row.id }),
      h('span', null, h('b', null, sayReason(row.reason)), offence(row),
        h('span', { class: 'of' }, facts.filter(Boolean).join(' · ')))),
    links(row),
    row.payload && h('details', null,
      h('summary', null,
        t('letters.received'), h('span', { class: 'unseen' }, ' ', t('letters.letter', { id: row.id }))),
      h('pre', { tabindex: 0, role: 'region', 'aria-label': t('letters.letter', { id: row.id }) },
        formatJson(row.payload)),
      isTruncated(row) && h('p', { class: 'of' },
        t('letters.truncated'), ' ', h('code', null, `progress dead-letters show ${row.id}`))));
}

/** The value that breaks the rule, if the reason names its place. */
function offence({ payload, reason }) {
  const [, path] = PLACE.exec(reason) ?? [];
  const steps = path?.slice(1).match(/[^.[\]]+/g) ?? [];
  const value = steps.length ? steps.reduce((node, step) => node?.[step], parse(payload)) : undefined;
  if (value === undefined) return null;
  const text = JSON.stringify(value);
  return h('span', { class: 'of' }, parts('letters.value', {
    value: h('code', { translate: 'no' }, text.length > 120 ? `${text.slice(0, 120)}…` : text),
  }));
}

function links({ payload, eventId, kind, reason }) {
  const user = learnerOf(payload);
  if (!user) return null;
  const parameters = new URLSearchParams({ ...(eventId && { event: eventId }), kind, reason });
  const id = encodeURIComponent(user);
  return h('p', { class: 'links' },
    h('a', { href: `#/learner/${id}` }, t('group.learner')), ' ',
    h('a', { href: `#/events/${id}?${parameters}` }, t('data.events')));
}

function learnerOf(payload) {
  const { data, event_data: recorded, metadata, user_id: flat, userid } = parse(payload) ?? {};
  const ids = [data?.user_id, recorded?.user_id, metadata?.user_id, flat, userid];
  return ids.find((id) => typeof id === 'string');
}

/** The payload as an object; undefined if it is not JSON, such as one that the API has cut. */
function parse(payload) {
  try {
    return JSON.parse(payload);
  } catch {
    return undefined;
  }
}

/** The API cuts a payload at 16,384 bytes, or up to three bytes earlier in order not to split a character. */
const isTruncated = (row) => new TextEncoder().encode(row.payload).length > 16_380;

function formatJson(payload) {
  const value = parse(payload);
  return value === undefined ? payload : JSON.stringify(value, null, 2);
}

export const selectedIds = (view) => [...view.selected].sort();

/** Ask for confirmation. Resolve to the entered text, to true if there is no `prompt`, or to null if cancelled. */
export function confirm({ title, text, action, prompt }) {
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, h('form', null,
    h('h2', { id: 'dialog-title' }, title), h('p', null, text),
    prompt && [h('label', { for: 'answer' }, prompt),
      h('textarea', { id: 'answer', name: 'answer', required: true, maxlength: 500, rows: 3 })],
    h('div', { class: 'tools' }, h('button', { class: 'button' }, action),
      h('button', { type: 'button', class: 'button quiet', value: 'no' }, t('data.cancel')))));
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
