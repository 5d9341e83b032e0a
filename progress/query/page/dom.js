// Elements from descriptions; and one tree made like another, so that what a reader holds stays.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element; of its children, null and false are left out. */
export function h(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function s(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
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
 * Give `place` these children. Elements that were there before and are alike stay what they are,
 * with their focus, their scroll position, and whether they are open; `data-key` tells who is who.
 */
export function show(place, ...children) {
  const held = lineage(document.activeElement, place);
  const next = document.createElement('div');
  next.append(...children.flat(2).filter((child) => child != null && child !== false));
  adopt(place, next);
  restore(held);
}

/** The element and what it is in, up to `place`; nothing if it is elsewhere. */
function lineage(element, place) {
  const line = [];
  for (let each = element; each && place.contains(each); each = each.parentElement) line.push(each);
  return line;
}

/** Give the focus back; where its element has gone, to the nearest that is left around it. */
function restore(held) {
  const left = held.find((each) => each.isConnected);
  if (!left || left === document.activeElement) return;
  if (left !== held[0]) left.tabIndex = -1;
  left.focus({ preventScroll: true });
}

function adopt(now, next) {
  const wanted = [...next.childNodes];
  const keys = new Set(wanted.map(keyOf).filter(Boolean));
  for (const child of [...now.childNodes]) {
    if (keyOf(child) && !keys.has(keyOf(child))) child.remove();
  }
  let place = now.firstChild;
  for (const child of wanted) {
    const same = counterpart(now, place, child);
    if (!same) {
      now.insertBefore(child, place);
      continue;
    }
    if (same === place) place = place.nextSibling;
    else now.insertBefore(same, place);
    become(same, child);
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
}

function counterpart(now, place, child) {
  const key = keyOf(child);
  if (key) return [...now.children].find((each) => keyOf(each) === key);
  const alike = place && place.nodeName === child.nodeName && !keyOf(place);
  return alike && place.id === child.id ? place : null;
}

function become(now, next) {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && !isReaders(now, name) && !isHeld(now, name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value && !isReaders(now, name)) now.setAttribute(name, value);
  }
  adopt(now, next);
}

/** Whether it is the reader who says what it is. */
function isReaders(element, attribute) {
  return attribute === 'open' && element.localName === 'details';
}

/** Whether the focus would be lost with it. */
function isHeld(element, attribute) {
  return attribute === 'tabindex' && element === document.activeElement;
}

function keyOf(node) {
  return node.dataset?.key;
}
