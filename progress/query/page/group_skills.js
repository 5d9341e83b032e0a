// The levels and skills of a group's learners, added up: which of them to train.

import { askEach } from './api.js';
import { h } from './dom.js';
import { number, percent } from './format.js';
import { agree } from './how_far.js';
import { join, t } from './i18n.js';
import { card, note, table } from './layout.js';

const MIN_ANSWERS = 50; // with fewer answers, nothing can be the weakest
const SUMS = ['itemsStudied', 'answers', 'correctAnswers', 'shortTermMastered', 'longTermMastered'];
const FIELDS = SUMS.join(' ');
const PART = `fragment Part on LearnerRecord { levelStats { level ${FIELDS} } domainStats { domain ${FIELDS} } }`;

/** Return the sums of the learners: two lists of rows, by level and by skill. */
export async function loadSkills(users, signal) {
  const sums = { levels: new Map(), skills: new Map() };
  const records = await askEach(users, (user) => `learner(${user}) { ...Part }`, signal, PART);
  for (const { levelStats, domainStats } of records) {
    for (const { level, ...row } of levelStats) add(sums.levels, level, row);
    for (const { domain, ...row } of domainStats) add(sums.skills, domain, row);
  }
  const studied = (rows) => [...rows.values()].filter(({ itemsStudied }) => itemsStudied);
  return { levels: studied(sums.levels), skills: studied(sums.skills), learners: users.length };
}

function add(rows, name, row) {
  const total = rows.get(name) ?? { name };
  for (const field of SUMS) total[field] = (total[field] ?? 0) + row[field];
  rows.set(name, total);
}

const rateOf = ({ answers, correctAnswers }) => (answers ? correctAnswers / answers : null);
const nameOfLevel = ({ name }) => (name === 'UNKNOWN' ? t('levels.none') : name);
const nameOfSkill = ({ name }) => t(`skills.${name}`);

/** The card; `data` is null while it is loading. */
export function skills(data) {
  if (!data) return card('skills', t('group.skills'), 'wide', note(t('states.loading')));
  const weakest = (rows) => {
    const enough = rows.filter(({ answers, name }) => answers >= MIN_ANSWERS && name !== 'UNKNOWN');
    return agree(enough.map(rateOf)) ? [] : enough.toSorted((one, other) => rateOf(one) - rateOf(other)).slice(0, 1);
  };
  const train = [[weakest(data.skills), nameOfSkill], [weakest(data.levels), nameOfLevel]].flatMap(([rows, nameOf]) =>
    rows.map((row) => t('group.trainOne', { name: nameOf(row), share: percent(rateOf(row)) })));
  const rows = (some, nameOf) => some.map((row) => [
    nameOf(row), number(row.itemsStudied), number(row.shortTermMastered + row.longTermMastered), percent(rateOf(row)),
  ]);
  return card('skills', t('group.skills'), 'wide',
    train.length > 0 && h('p', null, t('group.train', { names: join(train) })),
    note(t('group.skillsMeaning', { count: data.learners })),
    table([t('group.levelOrSkill'), t('group.studiedWords'), t('levels.known'), t('week.right')],
      [...rows(data.levels, nameOfLevel), ...rows(data.skills, nameOfSkill)]));
}
