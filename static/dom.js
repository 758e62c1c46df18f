// Creation and update of DOM nodes. Data reaches the DOM as text nodes and attributes, never as
// HTML, so a device's output cannot become markup.

const AS_PROPERTY = new Set(["value", "checked", "selected", "disabled", "hidden", "open"]);

/**
 * `h("a", { href, class: "x", onClick: fn }, "text", node, [more])`. Attributes and children that
 * are null, undefined or false are omitted.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...Child} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function" && name.startsWith("on")) {
      element.addEventListener(name.slice(2).toLowerCase(), /** @type {EventListener} */ (value));
    } else if (AS_PROPERTY.has(name)) {
      Object.assign(element, { [name]: value });
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...toNodes(children));
  return element;
}

/**
 * A button that does not submit a form.
 *
 * @param {Attributes} attributes
 * @param {...Child} children
 */
export function button(attributes, ...children) {
  return h("button", { type: "button", class: "button", ...attributes }, ...children);
}

/**
 * Makes `children` the content of `parent`, but keeps each child that is already equal, so that
 * focus and selection survive a refresh. Kept children keep their old listeners, so listeners on
 * patched content must not close over data that changes.
 *
 * @param {Element} parent
 * @param {...Child} children
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
 * @template T
 * @template {HTMLElement} E
 * @param {Element} parent
 * @param {T[]} items
 * @param {Reconciled<T, E>} options
 */
export function reconcile(parent, items, { keyOf, create, update = () => {} }) {
  /** @type {Map<unknown, E>} */
  const known = childrenByKey.get(parent) ?? new Map();
  /** @type {typeof known} */
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
  for (const item of items) {
    const element = kept.get(keyOf(item));
    if (element) update(element, item);
  }
  childrenByKey.set(parent, kept);
}

/** Returns an id for `for`, `aria-describedby` and similar attributes. @param {string} stem */
export function uniqueId(stem) {
  idCount += 1;
  return `${stem}-${idCount}`;
}

/** @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const childrenByKey = new WeakMap();
let idCount = 0;

/** @param {Child} child @returns {Node[]} */
function toNodes(child) {
  if (Array.isArray(child)) return child.flatMap(toNodes);
  if (child === null || child === undefined || child === false) return [];
  return [child instanceof Node ? child : document.createTextNode(String(child))];
}
