// The state of the system: a summary, the lag of the projections, and the messages that are still in Pub/Sub.

import { banner, hasFailed, isDeadLetter, isLate, isStopped, sum } from './alarms.js';
import { axis, chart, columns, roundUp } from './charts.js';
import { countOpen } from './dead_letters.js';
import { h } from './dom.js';
import { ago, clock, decimal, moment, number, seconds } from './format.js';
import { t, textOf } from './i18n.js';
import { panel, table, unfolded } from './layout.js';
import { hasEnded } from './operation.js';

/** The alarms, and a summary of the state in a few numbers. Each number is a button that scrolls to its section. */
export function glance(data, alarms, isBlocked) {
  return h('section', { class: 'card wide', 'aria-labelledby': 'glance', 'data-key': 'glance' },
    banner(alarms, isBlocked), data?.release && running(data.release), data && tiles(data));
}

const running = ({ migrating, otherVersions }) => h('p', { class: 'note', id: 'release' },
  t(migrating ? 'release.migrates' : 'release.runs'),
  otherVersions.length > 0 && [' ', t('release.versions', { versions: otherVersions.join(', ') })]);

/** A number is marked if an administrator must act. */
function tiles({ projections, reasons, operations, undelivered: messages }) {
  const behind = projections.filter(isLate).length;
  const failed = operations.filter(hasFailed).length;
  const running = operations.filter((operation) => !hasEnded(operation)).length;
  const held = messages && sum(messages.filter(isDeadLetter));
  const open = countOpen(reasons);
  const rows = [
    ['lag', t('state.behind'), t('state.ofProjections', { behind, count: projections.length }), behind > 0],
    ['letters', t('letters.title'), number(open), open > 0],
    ['operations', t('operation.title'),
      failed ? t('state.failed', { count: failed }) : t('state.running', { count: running }), failed > 0],
    messages?.length > 0 && ['undelivered', t('state.undelivered'), number(sum(messages)), held > 0],
  ].filter(Boolean);
  return h('ul', { class: 'glance' }, rows.map(([id, name, value, isBad]) => h('li', null,
    h('button', { type: 'button', class: isBad ? 'bad' : null, 'data-action': 'jump', 'data-id': id },
      h('span', { class: 'of' }, name), h('strong', null, value)))));
}

export function lag(rows) {
  const late = rows.filter(isLate);
  return panel('lag', t('lag.title'), null,
    h('p', { class: 'note' }, late.length ? t('lag.late', { late: late.length, count: rows.length }) : t('lag.none')),
    late.length > 0 && lagTable(late),
    h('details', null, h('summary', null, t('lag.all', { count: rows.length })), lagTable(rows)));
}

const lagTable = (rows) => h('table', { class: 'rows' },
  h('thead', null, h('tr', null, [t('lag.projection'), t('lag.state'), t('lag.behind')].map((name, index) =>
    h('th', { scope: 'col', class: index > 1 ? 'end' : null }, name)))),
  h('tbody', null, rows.map(lagRow)));

function lagRow(row) {
  const isCritical = row.status === 'CRITICAL';
  return h('tr', null,
    h('th', { scope: 'row' }, h('span', null, textOf(`lag.names.${row.name}`, row.name.replaceAll('_', ' '))),
      h('span', { class: 'of' },
        row.updatedAt ? t('lag.moved', { distance: ago(row.updatedAt) }) : t('lag.never'))),
    h('td', null, h('span', { class: `chip ${isCritical ? 'bad' : 'good'}` }, t(`lag.statuses.${row.status}`))),
    h('td', { class: 'end' }, t('lag.events', { count: row.eventsBehind }),
      h('span', { class: 'of' }, seconds(row.secondsBehind))));
}

const between = (least, value, most) => Math.min(Math.max(least, value), most);

/** The events and dead letters of the last 24 hours, the last of which is not over, and a link to the dashboards. */
export function arrivals(rows) {
  const perMinute = (count) => decimal(count / 60);
  const inHour = ({ start, events }) => (60 * events) / between(1, (Date.now() - Date.parse(start)) / 60_000, 60);
  const most = Math.max(...rows.map(inHour));
  const isMany = most >= 120; // ticks without decimals
  const top = isMany ? 60 * roundUp(most / 60) : most;
  const letters = rows.reduce((count, row) => count + row.deadLetters, 0);
  const time = (row) => clock(row.start);
  const entries = rows.map((row) => ({
    parts: [['right', inHour(row)]],
    title: t('arrivals.hour', { time: time(row), rate: perMinute(inHour(row)), letters: row.deadLetters }),
  }));
  const { content: url } = document.querySelector('meta[name=dashboards]');
  return panel('arrivals', t('arrivals.title'), null,
    h('p', { class: 'note' }, t('arrivals.letters', { count: letters })),
    chart(columns(entries, top, t('weeks.chart')), [0, top], isMany ? (count) => number(count / 60) : perMinute,
      axis([0, 12, 23].map((index) => [index, time(rows[index])]), rows.length)),
    unfolded(t('arrivals.title'), table(
      [t('hours.from'), t('arrivals.rate'), t('letters.title')],
      rows.toReversed().map((row) => [time(row), perMinute(inHour(row)), number(row.deadLetters)]))),
    url && h('a', { class: 'button quiet', href: url, 'data-key': 'dashboards' }, t('arrivals.dashboards')));
}

export function schedules(rows) {
  return panel('schedules', t('schedules.title'), null,
    !rows && h('p', { class: 'note' }, t('schedules.unknown')),
    rows && h('ul', { class: 'operations' }, rows.map((row) => h('li', { 'data-key': row.name },
      h('div', { class: 'head' },
        h('h3', null, h('span', { translate: 'no' }, row.name), ' ',
          h('span', { class: `chip ${isStopped(row) ? 'bad' : 'good'}` },
            row.code && row.state === 'ENABLED' ? t('operation.states.FAILED')
              : textOf(`schedules.states.${row.state}`, row.state))),
        h('span', { class: 'of', translate: 'no' }, row.schedule)),
      h('p', { class: 'of' },
        row.lastAt ? t('schedules.last', { time: moment(row.lastAt) }) : t('schedules.never'),
        row.nextAt && [t('separator'), t('schedules.next', { time: moment(row.nextAt) })])))));
}

/** The messages that are still in Pub/Sub. `rows` is null if the numbers are not available, empty without Pub/Sub. */
export function undelivered(rows) {
  return rows?.length !== 0 && panel('undelivered', t('state.undelivered'), null,
    h('p', { class: 'note' }, rows ? t('state.undeliveredMeaning') : t('state.unavailable')),
    rows && table([t('state.subscription'), t('state.waiting'), t('letters.title')],
      bySource(rows).map(([name, { waiting, dead }]) => [
        h('span', { class: 'id', translate: 'no' }, name), number(waiting),
        dead > 0 ? h('span', { class: 'chip bad' }, number(dead)) : number(dead),
      ])));
}

/** The waiting messages and dead letters of each subscription. */
function bySource(rows) {
  const sources = {};
  for (const row of rows) {
    const name = row.subscription.replace(/-dead-letter-sub$/, '');
    const source = (sources[name] ??= { waiting: 0, dead: 0 });
    source[isDeadLetter(row) ? 'dead' : 'waiting'] += row.messages;
  }
  return Object.entries(sources);
}
