// The answers of one day: what, when, right or not, from the learner's own device or not, and why some do not count.
// Support and administrators see all events of the day.

import { runQuery } from './api.js';
import { h } from './dom.js';
import { clock, longDay, moment } from './format.js';
import { sentences, t } from './i18n.js';
import { itemPage } from './items.js';
import { note, table } from './layout.js';
import { learnName, nameOf } from './names.js';
import { View } from './problems.js';

const QUERY = `query DayEvents($user: ID, $day: Date!, $after: String, $isFirst: Boolean!) {
  span: localDay(userId: $user, date: $day) @include(if: $isFirst) { start end }
  words: itemStats(userId: $user, filter: ANSWERED, from: $day, to: $day, first: 200) @include(if: $isFirst) {
    edges { node { itemId headword } }
  }
  events(userId: $user, day: $day, first: 200, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { eventId eventType data occurredAt postedBy counted } }
  }
}`;
const TWICE_MS = 2_000; // between two answers that are probably one

/** Return when a day began and ended, and its events in their order. */
export async function loadDay(user, day, signal, after = null) {
  const { data } = await runQuery(QUERY, { user, day, after, isFirst: !after }, signal);
  const { span, words, events: { edges, pageInfo } } = data;
  for (const { node } of words?.edges ?? []) learnName('item', node.itemId, node.headword);
  const found = edges.map(({ node }) => ({ ...node, data: JSON.parse(node.data), at: Date.parse(node.occurredAt) }));
  const earlier = pageInfo.hasNextPage ? (await loadDay(user, day, signal, pageInfo.endCursor)).events : [];
  return { span, events: [...earlier, ...found].sort((one, other) => one.at - other.at) };
}

/** True or false for a right or a wrong answer; undefined for another event. */
const isRight = ({ eventType, data }) =>
  ({ CorrectAnswerGiven: true, IncorrectAnswerGiven: false, CardReviewed: data.rating > 1 })[eventType];

export const isStudy = (event) => isRight(event) !== undefined || event.eventType === 'SessionCompleted';

/** How many of the answers both the learner's device and another sender have sent. */
export function countTwice(answers) {
  const isOwn = ({ postedBy }) => postedBy === 'learner';
  const isSame = (one, other) => one.data.item_id === other.data.item_id && isRight(one) === isRight(other)
    && !isOwn(other) && Math.abs(one.at - other.at) <= TWICE_MS;
  return answers.filter((one) => isOwn(one) && answers.some((other) => isSame(one, other))).length;
}

export class DayEvents extends View {
  constructor(element, day, user, shell) {
    super(element, shell, { day, user });
    this.load();
  }

  read(signal) {
    return loadDay(this.user, this.day, signal);
  }

  sections() {
    const { span, events } = this.data;
    const shown = events.filter((event) => this.user || isStudy(event));
    const answers = shown.filter((event) => event.counted === 'COUNTED' && isRight(event) !== undefined);
    const [title, twice] = [t('why.day', { day: longDay(this.day) }), countTwice(answers)];
    const headers = [t('sessions.when'), t('items.item'), t('session.answer'), t('why.from'), t('why.state')];
    return [
      h('h1', { 'data-key': 'title' }, title),
      h('section', { class: 'card wide', 'aria-label': title, 'data-key': 'day' },
        note(sentences(
          t('why.counts', { count: answers.length, right: answers.filter(isRight).length }),
          twice > 0 && t('why.twice', { count: twice }),
          t('why.span', { start: moment(span.start), end: moment(span.end) }))),
        shown.length
          ? table(headers, shown.map((event) => this.row(event)), 'stacking') : note(t('why.nothing'))),
    ];
  }

  row(event) {
    const { eventId, eventType, data: { item_id: item }, at, postedBy, counted } = event;
    const right = isRight(event);
    const what = right === undefined ? eventType === 'SessionCompleted' && t('why.finished')
      : t(right ? 'weeks.right' : 'weeks.wrong');
    const href = this.user && `#/events/${encodeURIComponent(this.user)}?event=${eventId}`;
    return [
      (this.user ? moment : clock)(at),
      item ? h('a', { href: itemPage(item, this.user), translate: 'no' }, nameOf('item', item)) : '–',
      [what, href && [' ', h('a', { href, lang: 'en', translate: 'no' }, eventType)]],
      t(postedBy === 'learner' ? 'why.device' : 'why.app'),
      t(`why.counted.${counted}`),
    ];
  }
}
