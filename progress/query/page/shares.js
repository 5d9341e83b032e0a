// Mastery by level and by domain: the known part of the catalogue.

import { h, s } from './dom.js';
import { number, percent, share } from './format.js';

const DOMAINS = { R: 'Reading', W: 'Writing', L: 'Listening', S: 'Speaking' };
const STAGES = ['Known long term', 'Known short term', 'Learning', 'Not met yet'];

export const levels = ({ levels: rows }) =>
  table('levels', 'Levels', 'Level', rows.map((row) => [levelName(row.level), row]));

export const domains = ({ domains: rows }) =>
  table('domains', 'Skills', 'Skill', rows.map((row) => [DOMAINS[row.domain] ?? 'No skill named', row]));

const levelName = (level) => (level === 'UNKNOWN' ? 'No level' : level);

function table(id, title, header, rows) {
  return h('section', { class: 'card', 'aria-labelledby': id, 'data-key': id },
    h('h2', { id }, title),
    rows.length ? h('table', { class: 'shares' },
      h('thead', null, h('tr', null,
        h('th', { scope: 'col' }, header),
        h('th', { scope: 'col', class: 'grow' }, h('span', { class: 'unseen' }, 'Progress')),
        h('th', { scope: 'col', class: 'end' }, 'Known'),
        h('th', { scope: 'col', class: 'end' }, 'Right'))),
      h('tbody', null, rows.map(([name, row]) => tableRow(name, row))))
      : h('p', { class: 'note' }, 'The catalogue has no items yet.'),
    legend(),
  );
}

function tableRow(name, row) {
  const stages = [row.longTermMastered, row.shortTermMastered, row.learning];
  const known = row.longTermMastered + row.shortTermMastered;
  const total = row.catalogueItems;
  return h('tr', null,
    h('th', { scope: 'row' }, name),
    h('td', { class: 'grow' },
      bar(stages, total ?? row.itemsStudied),
      h('span', { class: 'of' }, total == null
        ? `${number(known)} of ${number(row.itemsStudied)} studied; not counted in the catalogue`
        : `${number(known)} of ${number(total)}`)),
    h('td', { class: 'end' }, total == null ? '–' : share(row.progressRate)),
    h('td', { class: 'end' }, percent(row.accuracyRate)),
  );
}

/** A bar of the stages in proportion to the total. A stage above 0 is always visible. */
export function bar(stages, total) {
  let x = 0;
  const parts = stages.map((stage, number) => {
    const width = stage && Math.min(Math.max((100 * stage) / total, 0.6), 100 - x);
    const part = s('rect', { class: `stage-${number}`, x: `${x}%`, y: 0, width: `${width}%`, height: '100%' });
    x += width;
    return part;
  });
  return s('svg', { class: 'bar', 'aria-hidden': 'true' }, parts);
}

/** The legend of the stages' shades; `values` are the numbers of items in the stages. */
export function legend(values) {
  return h('ul', { class: 'legend' }, STAGES.map((name, index) =>
    h('li', null,
      s('svg', { width: 12, height: 12, 'aria-hidden': 'true' },
        s('rect', { class: `stage-${index}`, width: 12, height: 12, rx: 3 })),
      values ? [h('b', null, number(values[index])), ' '] : '',
      values ? name.toLowerCase() : name)));
}
