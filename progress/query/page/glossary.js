// The words that the page uses, each with its rule.

import { h } from './dom.js';
import { t } from './i18n.js';
import { View } from './problems.js';

const WORDS = [
  'studyDay', 'streak', 'restDay', 'learned', 'learning', 'mastered', 'lasting', 'ever', 'slipped', 'due', 'overdue',
  'plan', 'weak', 'lapse', 'fading', 'recall',
];

export class Glossary extends View {
  constructor(element, shell) {
    super(element, shell, { data: true });
    this.draw();
  }

  sections() {
    return [
      h('h1', { 'data-key': 'title' }, t('glossary.title')),
      h('section', { class: 'card wide', 'aria-label': t('glossary.title'), 'data-key': 'words' },
        h('dl', { class: 'glossary' }, WORDS.map((name) => [
          h('dt', null, t(`glossary.words.${name}`)), h('dd', null, t(`glossary.rules.${name}`)),
        ]))),
    ];
  }
}
