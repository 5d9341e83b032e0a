// What needs a person: each alarm leads to the shard, to who blocks it, and to the section of the runbook.

import { countOpen } from './dead_letters.js';
import { h } from './dom.js';
import { ago, clock, number } from './format.js';
import { join, parts, sentences, t } from './i18n.js';
import { panel, table } from './layout.js';
import { isCancelled } from './operation.js';

const DAY_MS = 86_400_000;
export const hasFailed = (operation) => ['FAILED', 'TIMED_OUT'].includes(operation.state) && !isCancelled(operation)
  && Date.now() - Date.parse(operation.startedAt) < DAY_MS;
export const isDeadLetter = ({ subscription }) => subscription.endsWith('-dead-letter-sub');
export const isLate = ({ status }) => status === 'CRITICAL';
/** True for a schedule that does not start its job, or whose last run failed. */
export const isStopped = ({ state, code: ended }) => state !== 'ENABLED' || ended !== 0;
export const sum = (rows) => rows.reduce((total, { messages }) => total + messages, 0);
const count = (rows, condition) => rows.filter(condition).length;
const code = (text) => h('span', { translate: 'no' }, text);

/**
 * The alarms, the most urgent first. `sessions` are the sessions that block others; null if the database does not
 * answer, undefined if they are not known. `data` is null as long as the database has not answered.
 */
export function findAlarms(data, sessions) {
  if (sessions === null) return [{ text: t('alarms.away'), section: 'Errors' }];
  const blockers = (sessions ?? []).filter((row) => row.waitsFor.length === 0);
  const found = blockers.map((row) => ({
    text: sayWho(row),
    jumps: [...(data ? shardsOf(row, sessions) : []), toSession(row)],
    section: 'A stuck shard',
  }));
  return data ? [...found, ...ofData(data, blockers)] : found;
}

function ofData({ projections, shards, reasons, operations, schedules, undelivered }, blockers) {
  const late = count(projections, isLate);
  const open = countOpen(reasons);
  const failed = count(operations, hasFailed);
  const held = undelivered ? sum(undelivered.filter(isDeadLetter)) : 0;
  const behind = shards.filter((row) => row.eventsBehind > 0).sort((a, b) => b.eventsBehind - a.eventsBehind);
  return [
    late > 0 && {
      text: t('lag.late', { late, count: projections.length }),
      jumps: [
        ...behind.slice(0, 3).map(({ shard }) => toShard(shard)), ...blockers.map(toSession), ['lag', t('lag.title')],
      ],
      section: blockers.length ? 'A stuck shard' : 'Projection lag',
    },
    open > 0 && {
      text: t('letters.found', { count: open }), jumps: [['letters', t('letters.title')]], section: 'Dead letters',
    },
    failed > 0 && {
      text: t('alarms.operations', { count: failed }),
      jumps: [['operations', t('operation.title')]],
      section: 'Operations',
    },
    ...(schedules ?? []).filter(isStopped).map(({ name, state, code: ended }) => ({
      text: ended && state === 'ENABLED'
        ? t('schedules.ended', { name, code: String(ended) }) : t('schedules.paused', { name }),
      jumps: [['schedules', t('schedules.title')]],
      section: 'Batch job',
    })),
    held > 0 && {
      text: t('alarms.undelivered', { count: held }),
      jumps: [['undelivered', t('state.undelivered')]],
      section: 'Dead letters',
    },
  ].filter(Boolean);
}

const nameSession = (session) => t('alarms.session', { session: String(session) }); // no separators of thousands
const toShard = (shard) => [`shard-${shard}`, t('alarms.shard', { shard })];
const toSession = ({ session }) => [`session-${session}`, nameSession(session)];

function shardsOf({ session, shards }, sessions) {
  const waiting = sessions.filter((row) => row.waitsFor.includes(session)).flatMap((row) => row.shards);
  return [...new Set([...shards, ...waiting])].map(toShard);
}

function sayWho({ session, login, application, locked, shards, since, blocks }) {
  const key = locked.length ? 'locks' : shards.length ? 'holds' : 'blocks';
  const said = t(`alarms.${key}`, {
    session: nameSession(session),
    who: join(login, application),
    what: join(locked.length ? locked : shards),
    count: blocks.length,
  });
  return sentences(said, since && t('alarms.since', { time: clock(since), distance: ago(since) }));
}

/** The banner, which says from far away whether all is well, and the alarms. */
export function banner(alarms, isBlocked) {
  const isGood = alarms.length === 0;
  const title = isGood ? 'state.good' : isBlocked ? 'alarms.blocked' : 'state.bad';
  return [
    h('h2', { id: 'glance', class: `banner ${isGood ? 'good' : 'bad'}` }, t(title)),
    !isGood && h('ul', { class: 'alarms' }, alarms.map(alarm)),
  ];
}

function alarm({ text, jumps = [], section }) {
  const jump = ([id, name]) =>
    h('button', { type: 'button', class: 'button quiet', 'data-action': 'jump', 'data-id': id }, name);
  return h('li', null, h('p', null, text), h('div', { class: 'tools' }, jumps.map(jump), runbook(section)));
}

/** A link to a section of the runbook or, if the runbook's address is not known, the section's name. */
function runbook(heading) {
  const { content: url } = document.querySelector('meta[name=runbook]');
  const name = h('span', null, parts('alarms.runbook', { section: h('span', { lang: 'en' }, heading) }));
  if (!url) return h('span', { class: 'of' }, name);
  const href = `${url}#${heading.toLowerCase().replaceAll(' ', '-')}`;
  return h('a', { class: 'button quiet', href, target: '_blank', rel: 'noopener' }, name);
}

export function blockingSessions(rows) {
  return rows?.length > 0 && panel('sessions', t('alarms.sessions'), 'wide',
    h('p', { class: 'note' }, t('alarms.sessionsMeaning')),
    h('ul', { class: 'sessions' }, rows.map(session)));
}

function session({ session: id, login, application, state, since, locked, shards, waitsFor, blocks }) {
  const list = (numbers) => code(numbers.join(', '));
  const facts = [
    [t('alarms.login'), code(join(login, application))],
    [t('lag.state'), state ? h('span', { lang: 'en' }, state) : t('state.unknown')],
    [t('alarms.begun'), since ? `${clock(since)} (${ago(since)})` : t('state.unknown')],
    locked.length > 0 && [t('alarms.locked'), code(locked.join(', '))],
    shards.length > 0 && [t('alarms.shards'), list(shards)],
    waitsFor.length > 0 && [t('alarms.waitsFor'), list(waitsFor)],
    blocks.length > 0 && [t('alarms.keeps'), list(blocks)],
    waitsFor.length === 0 && [t('alarms.end'), h('code', { translate: 'no' }, shards.length
      ? `progress shards release ${shards[0]}` : `SELECT pg_terminate_backend(${id})`)],
  ].filter(Boolean);
  return h('li', { 'data-key': id },
    h('h3', { id: `session-${id}`, tabindex: -1 }, nameSession(id)),
    h('dl', { class: 'receipt' }, facts.map(([name, value]) => [h('dt', null, name), h('dd', null, value)])));
}

export function shardList(rows, sessions) {
  const holders = (sessions ?? []).map((row) => row.session);
  const behind = rows.filter((row) => row.eventsBehind > 0);
  const shown = rows.filter((row) => row.eventsBehind > 0 || holders.includes(row.session));
  const cells = ({ shard, eventsBehind, waitingSince, session: holder }) => [
    h('span', { id: `shard-${shard}`, tabindex: -1 }, number(shard)),
    [t('lag.events', { count: eventsBehind }), waitingSince && h('span', { class: 'of' }, ago(waitingSince))],
    holder ? code(holder) : '–',
  ];
  return panel('shards', t('alarms.shards'), null,
    h('p', { class: 'note' }, t('alarms.shardsBehind', { behind: behind.length, count: rows.length })),
    shown.length > 0 && table([t('alarms.shardName'), t('lag.behind'), t('alarms.holder')], shown.map(cells)));
}
