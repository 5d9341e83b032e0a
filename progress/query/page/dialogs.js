// Dialogs that change something: their form, what it says, and the mutation that it sends.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { toProblem } from './problems.js';

const SLOW_MS = 2_000;

// The last change that was sent, and its idempotency key. Only a repetition of this change has the same key: after
// another change, an earlier key would repeat a change that no longer has an effect.
let last = {};

/** Open a dialog with a form; the next one is another element. */
export function openDialog(view, title, ...content) {
  const dialog = h('dialog', { 'aria-labelledby': 'command-title', class: 'command' },
    h('form', { novalidate: true },
      h('h2', { id: 'command-title' }, title), content,
      h('p', { class: 'error', id: 'command-problem', role: 'alert' }),
      h('p', { class: 'note', id: 'command-status', role: 'status' })));
  document.body.append(dialog);
  dialog.addEventListener('submit', (event) => event.preventDefault());
  dialog.addEventListener('close', () => dialog.remove());
  dialog.querySelector('[value=cancel]').addEventListener('click', () => dialog.close());
  dialog.showModal();
  return dialog;
}

/** The button that sends the form, others, and the one that leaves it. */
export const tools = (action, more) => h('div', { class: 'tools' },
  h('button', { class: 'button' }, action), more,
  h('button', { type: 'button', class: 'button quiet', value: 'cancel' }, t('data.cancel')));

/** Say a `problem` or a `status` in a dialog. */
export function say(dialog, id, text) {
  dialog.querySelector(`#command-${id}`).textContent = text;
}

/**
 * Send a mutation, whose field is called `event`, then let the view show its result. Sent again after a failure, it has
 * the same key, and counts once. `onRefused` learns of a problem that another try does not mend.
 */
export async function send(dialog, mutation, variables, change, view, onRefused) {
  const text = JSON.stringify(change);
  if (last.change !== text) last = { change: text, key: crypto.randomUUID() };
  const { key } = last;
  say(dialog, 'problem', '');
  const request = () => runQuery(mutation, { ...variables, key });
  const answer = await run(dialog, view, t('command.saving'), request, (problem) => {
    last = {};
    onRefused?.(problem);
  });
  if (!answer) return;
  last = {};
  dialog.close();
  view.changed(change, answer.data.event.counted, answer.data.event);
}

/** Return the response; null if the request failed, which the dialog then says. It also says if a response is slow. */
export async function run(dialog, view, text, request, onRefused) {
  if (dialog.ariaBusy === 'true') return null;
  dialog.ariaBusy = 'true';
  say(dialog, 'status', text);
  const slow = setTimeout(() => say(dialog, 'status', t('command.slow')), SLOW_MS);
  let problem = null;
  const answer = await request().catch((error) => {
    problem = toProblem(error);
  });
  clearTimeout(slow);
  dialog.ariaBusy = 'false';
  say(dialog, 'status', '');
  if (answer) return answer;
  if (problem.kind === 'signed-out') view.shell.signedOut();
  else say(dialog, 'problem', t('command.failed', { problem: t(`problem.${problem.kind}`) }));
  if (problem.kind === 'refused') onRefused?.(problem);
  return null;
}
