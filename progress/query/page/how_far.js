// The section "How far": the expected number, levels of the chosen scale, skills while they differ, and milestones.

import { bar, legend } from './charts.js';
import { h } from './dom.js';
import { dayAfter, longDay, monthYear, nearDay, number, percent, share } from './format.js';
import { STAGES, isBatchPending, masteredNow } from './freshness.js';
import { parts, t } from './i18n.js';
import { itemList, listLink, listsPage } from './items.js';
import { inLanguage, languageSwitch, ofAllLanguages } from './languages.js';
import { LEAST, card, counting, has, mark, note, pairs, section, table } from './layout.js';
import { visible } from './names.js';
import { known } from './news.js';
import { pastDay } from './past_day.js';
import { PACE, read, store } from './signed_in.js';

const AGREE = 0.1 + 1e-9; // the difference of 0.4 and 0.3 is slightly too large
const MAX_DAYS = 731; // of a range of the API
const MOST_A_DAY = 999; // words that a user may enter
const MOST = 7; // levels of a scale that the card shows; CEFR has not more, with the words of no level

/** True if rates differ by so little that none of them stands out. */
export const agree = (rates) => Math.max(...rates) - Math.min(...rates) <= AGREE;

const shades = (row) => STAGES.map((name, index) => [`stage-${index}`, row[name]]);

/**
 * `view` may have the `scales` of lists, the name of the chosen `scale`, which is null if none is, or "" for CEFR, and
 * the `lastLevel` that was found of a choice: see levelsOf().
 */
export function howFar(data, view = {}) {
  const ofAll = () => ofAllLanguages(data.languages, data.language);
  const waiting = () => isBatchPending(data) && counting(data);
  return section('how-far', t('howFar.title'), languageSwitch(data.languages, data.language),
    card('known', t('expected.title'), null, known(data)), milestones(data, ofAll),
    levels(data, waiting(), view.scales ?? [], levelsOf(data, view), ofAll), skills(data, waiting()));
}

/** False for a level or skill that neither the catalogue has in the learner's languages nor the learner has studied. */
const isShown = (row) => row.catalogueItems > 0 || row.itemsStudied > 0;

export const stageLegend = (names = [...STAGES, 'unmet']) =>
  legend(names.map((name, index) => [`stage-${index}`, t(`stage.${name}`)]));

/**
 * The levels of CEFR or another scale, and the current one. Who knows no level of CEFR sees the first other scale. The
 * current level is, of those not reached, that in which most was mastered in 28 days, the lower one of two. If nothing
 * was, it is that of the word mastered last, which may be a `choice` of several: then it is null until it is found.
 */
export function levelsOf(data, { scales = [], scale: chosen = null, lastLevel }) {
  const { levels: ofCefr, days, day, language } = data;
  const byDefault = chosen === null && !isBatchPending(data) && !hasLevel(ofCefr) ? scales[0] : null;
  const scale = scales.find(({ name }) => name === chosen) ?? byDefault;
  const all = (scale?.rows ?? ofCefr).filter(isShown);
  const ahead = all.filter((row) => row.level !== 'UNKNOWN' && row.catalogueItems > 0 && !row.reached);
  const known = ahead.filter((row) => masteredNow(row) > 0);
  const most = Math.max(0, ...ahead.map((row) => row.masteredLast28Days));
  const dates = [...days.values()].filter((row) => row.newMasteryCount).map(({ date }) => date)
    .filter((date) => dayAfter(day, -MAX_DAYS) < date && date <= day).sort().reverse();
  const key = [scale?.name, language, day].join();
  const choice = !most && known.length > 1 && dates.length > 0
    && { key, rows: known, dates, day, language: scale ? null : language };
  const last = lastLevel?.key === key ? lastLevel : null;
  const current = most ? ahead.find((row) => row.masteredLast28Days === most)
    : choice && !last ? null : known.find((row) => idOf(row) === last?.id) ?? known[0] ?? ahead[0];
  return { scale, all, current, next: ahead[ahead.indexOf(current) + 1], choice: !last && choice };
}

export const idOf = ({ id, level }) => id ?? level;

function levels({ user, day }, isCounting, scales, shown, ofAll) {
  const { scale, all, current, next } = shown;
  const waiting = !scale && isCounting; // lists are counted when they are asked for
  const isTable = waiting || hasLevel(all);
  const first = scale ? Math.max(0, all.indexOf(current)) : 0;
  const rows = [...all.slice(first), ...all.slice(0, first)].slice(0, MOST);
  const isNear = (row) => row === current || row === next;
  const headers = [t('levels.level'), t('levels.known'), t('levels.pace'), t('levels.expected')];
  const undated = isTable && !waiting && [current, next].some(lacksDate) && t('levels.noDate');
  const more = scale && (scale.cursor || all.length > MOST);
  return card('levels', t('levels.title'), 'wide',
    scales.length > 0 && h('label', { class: 'scale-menu' }, h('span', { class: 'unseen' }, t('levels.scale')),
      scaleSelect(['', ...scales.map(({ name }) => name)], scale?.name, 'CEFR')),
    scale && ofAll(), status(waiting, describe(shown, day)),
    isTable && [shareTable(headers, rows.map((row) => [
      row.id ? listLink(row, user) : row.level === 'UNKNOWN' ? t('levels.none') : row.level, row,
      pace(row, user, day), expected(row, isNear(row))]), waiting, user), stageLegend()],
    undated && note(undated),
    (more || !isTable) && h('div', { class: 'tools' },
      h('a', { class: 'button quiet', href: listsPage(user, scale?.name), 'data-key': 'lists' }, t('view.lists'))));
}

/** A menu of scales; `others` is the text of the empty name. */
export const scaleSelect = (names, chosen, others) => h('select', { name: 'scale' }, names.map((name) =>
  h('option', { value: name, selected: name === (chosen ?? '') }, name || others)));

const status = (waiting, text) => h('div', { class: 'status' }, waiting || note(text));

const hasLevel = (rows) => rows.some((row) => row.level !== 'UNKNOWN' && row.itemsStudied > 0);

function describe({ scale, all, current, choice }, day) {
  if (!hasLevel(all)) return t('levels.noneStudied');
  if (!current) return !choice && !scale?.cursor && all.some(({ reached }) => reached) && t('levels.allReached');
  return [t('levels.current', { level: levelOf(current) }), t('gap'), ...toReach(current, day)];
}

const aDay = () => Number(read(PACE, 'localStorage')) || 5;

/** What a level or list lacks and, in the present, until when so many words a day, which the user chooses, gain it. */
export function toReach({ catalogueItems: count, progressRate }, day) {
  const more = Math.ceil(0.8 * count) - Math.round(progressRate * count);
  if (!(more > 0)) return [];
  return [t('levels.lacks', { count: more }), ...pastDay() ? [] : [t('gap'), h('label', { class: 'pace' }, parts(
    'levels.plan', { pace: h('input', { type: 'number', name: 'pace', min: 1, max: MOST_A_DAY, value: aDay() }),
      day: h('output', null, nearDay(dayAfter(day, Math.ceil(more / aDay())), day)) }))]];
}

/** Keep the words a day that were entered. Return whether `target` is their field. */
export function changesPace(target) {
  if (target.name !== 'pace') return false;
  store(PACE, Math.min(MOST_A_DAY, Math.max(1, Math.trunc(target.value))), 'localStorage');
  target.value = aDay(); // the browser may block storage
  return true;
}

const levelOf = ({ level, name, id }) => (id ? visible(name) ?? id : level);

const pace = (row, user, to) => (row.level === 'UNKNOWN' ? '–'
  : opened(row, row.masteredLast28Days, user, { filter: 'newly_mastered', from: dayAfter(to, -27), to }));

const lacksDate = (row) => row && !row.expectedDate;

/** Only the current level and the next have a date, because each level's pace is extrapolated alone. */
export function expected(row, isNear) {
  if (row.level !== 'UNKNOWN' && row.reached) return t('levels.reached');
  return isNear && row.expectedDate ? monthYear(row.expectedDate) : '–';
}

/** Nothing while the skills with enough answers agree, in what is known and in what is answered right. */
function skills(data, waiting) {
  const rows = data.domains.filter(({ answers }) => answers >= LEAST.skills[1]);
  const rates = [(row) => masteredNow(row) / row.itemsStudied, ({ accuracyRate }) => accuracyRate];
  if (!has('skills', data) || rates.every((rate) => agree(rows.map(rate)))) return null;
  return card('skills', t('skills.title'), null,
    status(waiting, t('skills.meaning')),
    shareTable([t('skills.skill'), t('levels.known'), t('week.right')],
      rows.map((row) => [t(`skills.${row.domain}`), row, percent(row.accuracyRate)]), waiting, data.user),
    stageLegend());
}

/** A table of levels or skills. While they are being counted, rows without counts have dashes. */
const shareTable = (headers, rows, waiting, user) => rows.length > 0 && table(headers, rows.map(
  ([name, row, ...cells]) => [name, ...(waiting && !row.itemsStudied
    ? ['–', ...cells.map(() => '–')] : [shareOf(row, user), ...cells])]), 'shares');

export function shareOf(row, user) {
  const { itemsStudied, catalogueItems: total } = row;
  const known = opened(row, masteredNow(row), user, { filter: 'mastered' });
  return [
    bar(shades(row), total ?? itemsStudied),
    h('p', { class: 'of' }, total == null
      ? parts('levels.ofStudied', { known, count: opened(row, itemsStudied, user, {}) })
      : parts('levels.ofTotal', { known, count: total, share: share(row.progressRate) })),
  ];
}

/** A number of words of a level, a skill or a list, which is of all languages; it opens the words. */
export function opened({ id, level, domain }, count, user, filter) {
  const href = itemList(user, { ...filter, ...(id ? { list: id } : level ? { level } : { skill: domain }) });
  return count ? h('a', { href: id ? inLanguage(null, href) : href }, number(count)) : number(count);
}

/** The newest milestones up to the day that the page shows; nothing if there are none. `ofAll` says what they count. */
function milestones({ milestones: { edges }, day }, ofAll) {
  const reached = edges.map((edge) => edge.node).filter((milestone) => milestone.reachedOn <= day);
  return reached.length > 0 && card('milestones', t('milestones.title'), null, ofAll(),
    pairs(reached.map((milestone) => [milestoneName(milestone), longDay(milestone.reachedOn)])));
}

export const celebration = (milestone) => milestone &&
  h('div', { class: 'cheer', 'data-key': 'cheer' }, mark('good', reachedText(milestone)));

export const reachedText = (milestone) => t('milestones.reached', { milestone: milestoneName(milestone) });

const milestoneName = ({ kind, value, level }) => t(`milestones.kinds.${kind}`, { count: value ?? 0, level });
