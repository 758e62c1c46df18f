// Creation and update of DOM nodes. Data reaches the DOM as text nodes and attributes, never as
// HTML, so a device's output cannot become markup.

const AS_PROPERTY = new Set(["value", "checked", "selected", "disabled", "hidden", "open"]);

/**
 * `h("a", { href, class: "x", onClick: fn }, "text", node, [more])`. Attributes and children that
 * are null, undefined or false are omitted.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function" && name.startsWith("on")) {
      element.addEventListener(name.slice(2).toLowerCase(), value);
    } else if (AS_PROPERTY.has(name)) {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...toNodes(children));
  return element;
}

/**
 * Makes `children` the content of `parent`, but keeps each child that is already equal, so that
 * focus and selection survive a refresh. Kept children keep their old listeners, so listeners on
 * patched content must not close over data that changes.
 */
export function patch(parent, ...children) {
  const wanted = toNodes(children);
  const present = [...parent.childNodes];
  wanted.forEach((node, index) => {
    const old = present[index];
    if (!old) parent.append(node);
    else if (!old.isEqualNode(node)) old.replaceWith(node);
  });
  for (const extra of present.slice(wanted.length)) extra.remove();
}

/**
 * Makes `parent` contain one child per item, in order. A child with the same key is updated in
 * place and moved only if the order has changed: moving a node removes its focus.
 *
 * @param {HTMLElement} parent
 * @param {any[]} items
 * @param {{
 *   keyOf: (item: any) => unknown,
 *   create: (item: any) => HTMLElement,
 *   update?: (element: HTMLElement, item: any) => void,
 * }} options
 */
export function reconcile(parent, items, { keyOf, create, update = () => {} }) {
  const known = childrenByKey.get(parent) ?? new Map();
  const kept = new Map();
  for (const item of items) {
    const key = keyOf(item);
    kept.set(key, known.get(key) ?? create(item));
  }
  for (const [key, node] of known) {
    if (!kept.has(key)) node.remove();
  }
  let place = parent.firstChild;
  for (const node of kept.values()) {
    if (place && node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  for (const item of items) update(kept.get(keyOf(item)), item);
  childrenByKey.set(parent, kept);
}

/** Returns an id for `for`, `aria-describedby` and similar attributes. */
export function uniqueId(stem) {
  idCount += 1;
  return `${stem}-${idCount}`;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const childrenByKey = new WeakMap();
let idCount = 0;

function toNodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}
