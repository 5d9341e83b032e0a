// One session: its numbers, what was missed, and its answers in order.

import { h } from './dom.js';
import { minutes, number, percent, seconds, shortDay } from './format.js';
import { t } from './i18n.js';
import { itemPage, word } from './items.js';
import { card, note, pairs, table } from './layout.js';
import { learnDays } from './local_days.js';
import { View } from './problems.js';
import { ask } from './past_day.js';

const QUERY = `query Session($user: ID, $id: ID!) {
  session(userId: $user, id: $id) {
    startedAt durationSeconds answers accuracyRate itemsNew itemsMissed
    given { itemId headword correct responseTimeMs }
  }
  languages(userId: $user) { language kinds }
}`;

export class StudySession extends View {
  constructor(element, id, user, shell) {
    super(element, shell, { id, user });
    this.load();
  }

  async read(signal) {
    const { user, id } = this;
    const { data: { session } } = await ask(QUERY, { user, id }, signal);
    const day = session && (await learnDays(user, [session.startedAt], signal))(session.startedAt);
    return { session, day };
  }

  sections() {
    const { session, day } = this.data;
    const title = h('h1', { 'data-key': 'title' }, t('sessions.one'));
    if (!session) return [title, h('section', { class: 'card wide', 'data-key': 'none' }, note(t('session.missing')))];
    const { durationSeconds: lasted, answers, accuracyRate, itemsNew, itemsMissed, given } = session;
    const facts = [
      [t('sessions.when'), shortDay(day)],
      [t('week.time'), lasted == null ? '–' : minutes(Math.floor(lasted / 60))],
      [t('week.answers'), number(answers)], [t('week.right'), percent(accuracyRate)],
      [t('session.new'), number(itemsNew)], [t('sessions.missed'), number(itemsMissed)],
    ];
    const missed = [...new Map(given.filter(({ correct }) => !correct).map((one) => [one.itemId, one])).values()];
    const link = (one) => h('a', { href: itemPage(one.itemId, this.user) }, word(one));
    return [title, h('section', { 'aria-labelledby': 'answered', 'data-key': 'session' },
      h('h2', { id: 'answered', class: 'unseen' }, t('session.given')), h('div', { class: 'cards' },
      card('facts', t('session.numbers'), null, pairs(facts)),
      card('missed', t('sessions.missed'), null, missed.length
        ? h('ul', { class: 'item-list words-list' }, missed.map((one) => h('li', null, link(one))))
        : note(t('session.noneMissed'))),
      card('given', t('session.given'), 'wide',
        table([t('items.item'), t('session.answer'), t('due.time')], given.map((one) => [
          link(one), t(one.correct ? 'weeks.right' : 'weeks.wrong'),
          one.responseTimeMs == null ? '–' : seconds(one.responseTimeMs / 1000)])))))];
  }
}
