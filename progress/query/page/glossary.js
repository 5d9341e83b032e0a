// The words that the page uses, each with its rule.

import { h } from './dom.js';
import { t } from './i18n.js';
import { View } from './problems.js';

const WORDS = [
  'new', 'learning', 'known', 'lasting', 'fading', 'mastered', 'slipped', 'learned', 'due', 'overdue', 'plan', 'weak',
  'lapse', 'recall', 'studyDay', 'streak', 'restDay',
];

export class Glossary extends View {
  constructor(element, shell) {
    super(element, shell, { data: true });
    this.draw();
  }

  sections() {
    return [
      h('h1', { 'data-key': 'title' }, t('frame.words')),
      h('section', { class: 'card wide', 'aria-label': t('frame.words'), 'data-key': 'words' },
        h('dl', { class: 'glossary' }, WORDS.map((name) => [
          h('dt', null, t(`glossary.words.${name}`)), h('dd', null, t(`glossary.rules.${name}`)),
        ]))),
    ];
  }
}
