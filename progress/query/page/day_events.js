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

const QUERY = `query DayEvents($user: ID, $day: Date!, $after: String) {
  span: localDay(userId: $user, date: $day) { start end }
  words: itemStats(userId: $user, filter: ANSWERED, from: $day, to: $day, first: 200) {
    edges { node { itemId headword } }
  }
  events(userId: $user, day: $day, first: 200, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { eventId eventType data occurredAt postedBy counted } }
  }
}`;
const MAX_PAGES = 25;
const TWICE_MS = 2_000; // between two answers that are probably one

/** Return the events of a day in their order, with what `event` of a table of events needs; and the day's span. */
export async function loadDay(user, day, signal) {
  const found = [];
  let [after, span] = [null, null];
  for (let pages = 0; pages < MAX_PAGES && (after || !pages); pages += 1) {
    const { data } = await runQuery(QUERY, { user, day, after }, signal);
    for (const { node } of data.words.edges) learnName('item', node.itemId, node.headword);
    found.push(...data.events.edges.map(({ node }) => ({ ...node, data: JSON.parse(node.data) })));
    ({ span } = data);
    after = data.events.pageInfo.hasNextPage ? data.events.pageInfo.endCursor : null;
  }
  return { span, events: found.sort((one, other) => Date.parse(one.occurredAt) - Date.parse(other.occurredAt)) };
}

/** True or false for a right or a wrong answer; undefined for another event. */
export const isRight = ({ eventType, data }) =>
  ({ CorrectAnswerGiven: true, IncorrectAnswerGiven: false, CardReviewed: data.rating > 1 })[eventType];

export const isStudy = (event) => isRight(event) !== undefined || event.eventType === 'SessionCompleted';

/** The counted answers that both the learner's device and another sender have sent. */
export function countTwice(events) {
  const answers = events.filter((event) => event.counted === 'COUNTED' && isRight(event) !== undefined);
  const isOwn = ({ postedBy }) => postedBy === 'learner';
  const others = answers.filter((event) => !isOwn(event));
  const isSame = (one, other) => one.data.item_id === other.data.item_id && isRight(one) === isRight(other)
    && Math.abs(Date.parse(one.occurredAt) - Date.parse(other.occurredAt)) <= TWICE_MS;
  return answers.filter((one) => isOwn(one) && others.some((other) => isSame(one, other))).length;
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
    const isStaff = Boolean(this.user);
    const shown = events.filter((event) => isStaff || isStudy(event));
    const counted = shown.filter(({ counted: state }) => state === 'COUNTED');
    const answers = counted.filter((event) => isRight(event) !== undefined);
    const twice = countTwice(shown);
    return [
      h('h1', { 'data-key': 'title' }, t('why.day', { day: longDay(this.day) })),
      h('section', { class: 'card wide', 'aria-label': t('why.day', { day: longDay(this.day) }), 'data-key': 'day' },
        note(sentences(
          t('why.counts', { count: answers.length, right: answers.filter(isRight).length }),
          shown.length > counted.length && t('why.others', { count: shown.length - counted.length }),
          twice > 0 && t('why.twice', { count: twice }),
          t('why.span', { start: moment(span.start), end: moment(span.end) }))),
        shown.length
          ? table(
            [t('sessions.when'), t('items.item'), t('session.answer'), t('why.from'), t('why.state')],
            shown.map((event) => this.row(event, isStaff)), 'stacking')
          : note(t('why.nothing')),
        isStaff && h('p', { class: 'links' },
          h('a', { href: `#/events/${encodeURIComponent(this.user)}` }, t('data.events')))),
    ];
  }

  row(event, isStaff) {
    const { eventId, eventType, data: { item_id: item }, occurredAt, postedBy, counted } = event;
    const right = isRight(event);
    const what = right === undefined ? eventType === 'SessionCompleted' && t('why.finished')
      : t(right ? 'weeks.right' : 'weeks.wrong');
    const type = h('a', {
      href: `#/events/${encodeURIComponent(this.user)}?event=${eventId}`, lang: 'en', translate: 'no',
    }, eventType);
    return [
      (isStaff ? moment : clock)(occurredAt),
      item ? h('a', { href: itemPage(item, this.user), translate: 'no' }, nameOf('item', item)) : '–',
      [what, what && isStaff && ' · ', isStaff && type],
      t(postedBy === 'learner' ? 'why.device' : 'why.app'),
      t(`why.counted.${counted}`),
    ];
  }
}
