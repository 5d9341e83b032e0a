// The dialog that erases a learner. It says whose record would be erased, and asks for the id again.

import { runQuery } from './api.js';
import { h, show } from './dom.js';
import { number } from './format.js';
import { sentences, t } from './i18n.js';

const QUERY = `query Erased($user: ID!) {
  progress: userProgress(userId: $user) { displayName totalItemsLearned }
  events(userId: $user, first: 1) { edges { node { streamVersion } } }
  operations(first: 200) { edges { node { kind subject state finishedAt } } }
}`;
const TYPING_MS = 300;
const EXPORT_MS = 7 * 86_400_000; // an export is deleted after a week

// The field `download` does not tell, because it is null unless the caller may fetch the file.
const isKept = (finishedAt) => Date.now() - Date.parse(finishedAt) < EXPORT_MS;

/** Ask whom to erase. Call `start(user)`, which returns an error's text, or null. Resolve when the dialog is closed. */
export function askErasure(start) {
  const about = h('div', { class: 'about', role: 'status' });
  const error = h('p', { class: 'error', role: 'alert' });
  const input = (name, text) => [
    h('label', { for: `erase-${name}` }, text),
    h('input', { id: `erase-${name}`, name, required: true, maxlength: 200, autocomplete: 'off', spellcheck: 'false' }),
  ];
  const action = h('button', { class: 'button danger', 'aria-disabled': 'true' }, t('operation.eraseAction'));
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, h('form', { novalidate: true },
    h('h2', { id: 'dialog-title' }, t('operation.eraseTitle')),
    h('p', null, sentences(t('operation.eraseText'), t('operation.eraseText2'))),
    input('user', t('operation.erasePrompt')), about, input('again', t('operation.eraseAgain')), error,
    h('div', { class: 'tools' }, action,
      h('button', { type: 'button', class: 'button quiet', value: 'no' }, t('data.cancel')))));
  const value = (name) => dialog.querySelector(`[name=${name}]`).value.trim();
  let known = null; // the id of the learner that was found
  const check = () => action.setAttribute('aria-disabled', String(!known || known !== value('again')));
  const look = async () => {
    const user = value('user');
    const found = await find(user);
    if (value('user') !== user) return;
    known = found.length ? user : null;
    show(about, found.length ? h('ul', { class: 'facts' }, found.map((text) => h('li', null, text)))
      : user && h('p', { class: 'error' }, t('operation.eraseUnknown')));
    check();
  };
  let typing;
  dialog.addEventListener('input', ({ target }) => {
    error.textContent = '';
    if (target.name === 'user') {
      clearTimeout(typing);
      known = null;
      typing = setTimeout(look, TYPING_MS);
    }
    check();
  });
  dialog.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!known) await look(); // the Enter key may come before the look-up
    if (action.getAttribute('aria-disabled') === 'true') {
      if (known && !value('again')) dialog.querySelector('[name=again]').focus();
      else error.textContent = t(known ? 'operation.eraseDiffers' : 'operation.eraseUnknown');
      return;
    }
    error.textContent = (await start(known)) ?? '';
    if (!error.textContent) dialog.close();
  });
  dialog.querySelector('[value=no]').addEventListener('click', () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => (clearTimeout(typing), dialog.remove(), resolve()), { once: true });
  });
}

/** What would be erased, as texts; empty if there is no such learner, or if the server does not answer. */
async function find(user) {
  if (!user) return [];
  const { data } = await runQuery(QUERY, { user }).catch(() => ({ data: null }));
  const newest = data?.events.edges[0]?.node;
  if (!newest) return [];
  const files = data.operations.edges.filter(({ node: { kind, subject, state, finishedAt } }) =>
    kind === 'EXPORT_USER' && subject === user && state === 'SUCCEEDED' && isKept(finishedAt));
  return [
    t('operation.eraseWhose', { name: data.progress?.displayName ?? '–', user }),
    t('operation.eraseEvents', { count: newest.streamVersion, items: number(data.progress?.totalItemsLearned ?? 0) }),
    t('operation.eraseFiles', { count: files.length }),
  ];
}
