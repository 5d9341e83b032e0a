// The number of items that fall due on each of the next days.

import { h, s } from './dom.js';
import { count, dayOfMonth, fullDay, number, weekday } from './format.js';

export function due({ due: days }) {
  const [today, ...later] = days;
  const most = Math.max(...later.map((day) => day.items));
  return h('section', { class: 'card', 'aria-labelledby': 'due', 'data-key': 'due' },
    h('h2', { id: 'due' }, 'Falling due'),
    h('p', { class: 'note' }, `${count(today.items, 'item is', 'items are')} due today, including overdue items. `,
      most === 0 && `Nothing falls due in the following ${later.length} days.`),
    most > 0 && h('ol', { class: 'due' }, later.map((day) => column(day, most))));
}

function column({ date, items }, most) {
  const height = items && Math.max((100 * items) / most, 2);
  return h('li', null,
    h('span', { class: 'unseen' }, `${fullDay(date)}: ${count(items, 'item', 'items')}`),
    h('span', { class: 'of', 'aria-hidden': 'true' }, items ? number(items) : ''),
    s('svg', { class: 'post', 'aria-hidden': 'true' },
      s('rect', { class: 'right', x: '14%', width: '72%', y: `${100 - height}%`, height: `${height}%`, rx: 2 })),
    h('span', { class: 'of', 'aria-hidden': 'true' }, weekday(date, 'narrow'), h('b', null, dayOfMonth(date))));
}
