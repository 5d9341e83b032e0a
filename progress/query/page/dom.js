// Creates elements, and updates a tree in place, so that the focus and the scroll positions are kept.

const SVG = 'http://www.w3.org/2000/svg';

/** Create an HTML element. Children that are null or false are skipped. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function s(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  for (const child of children.flat(2)) {
    if (child != null && child !== false) element.append(child);
  }
  return element;
}

/**
 * Replace the children of `parent`. An old element that matches a new element is updated in place, so it keeps the
 * focus and its scroll position, and stays open or closed. Elements with the same `data-key` match.
 */
export function show(parent, ...children) {
  const focused = ancestors(document.activeElement, parent);
  const next = document.createElement('div');
  next.append(...children.flat(2).filter((child) => child != null && child !== false));
  updateChildren(parent, next);
  showTapped(parent);
  restoreFocus(focused);
}

/** Show the value of each column that the user has tapped, and lead to what it counts. */
export function showTapped(parent) {
  for (const column of parent.querySelectorAll('[data-tapped]')) {
    const plot = column.closest('.plot');
    plot.dataset.value = column.querySelector('title').textContent;
    const { href } = column.dataset;
    if (href) plot.querySelector('.door').href = href;
  }
}

/** The element and its ancestors up to `parent`; empty if the element is outside of `parent`. */
function ancestors(element, parent) {
  const chain = [];
  for (let node = element; node && parent.contains(node); node = node.parentElement) chain.push(node);
  return chain;
}

/** Focus the first element of the chain again or, if it was removed, its nearest remaining ancestor. */
function restoreFocus(chain) {
  const target = chain.find((element) => element.isConnected);
  if (!target || target === document.activeElement) return;
  if (target !== chain[0]) target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

function updateChildren(now, next) {
  const children = [...next.childNodes];
  const keys = new Set(children.map(keyOf).filter(Boolean));
  for (const child of [...now.childNodes]) {
    if (keyOf(child) && !keys.has(keyOf(child))) child.remove();
  }
  let position = now.firstChild;
  for (const child of children) {
    const match = findMatch(now, position, child);
    if (!match) {
      now.insertBefore(child, position);
      continue;
    }
    if (match === position) position = position.nextSibling;
    else now.insertBefore(match, position);
    update(match, child);
  }
  while (position) {
    const next = position.nextSibling;
    position.remove();
    position = next;
  }
}

function findMatch(now, position, child) {
  const key = keyOf(child);
  if (key) return [...now.children].find((element) => keyOf(element) === key);
  const isAlike = position && position.nodeName === child.nodeName && !keyOf(position);
  return isAlike && position.id === child.id ? position : null;
}

function update(now, next) {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && !isSetByUser(now, name) && !keepsFocus(now, name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value && !isSetByUser(now, name)) now.setAttribute(name, value);
  }
  const { value } = next; // read first, because updateChildren moves options out of `next`
  updateChildren(now, next);
  // Once the user has selected an option, the `selected` attributes of the options have no effect.
  if (now.localName === 'select' && now.value !== value) now.value = value;
}

function isSetByUser(element, attribute) {
  return attribute === 'data-tapped' || (attribute === 'open' && element.localName === 'details');
}

function keepsFocus(element, attribute) {
  return attribute === 'tabindex' && element === document.activeElement;
}

function keyOf(node) {
  return node.dataset?.key;
}
