// A table with rows that are updated in place. On narrow screens the stylesheet turns every row
// into a card. Therefore the cells carry their column's label, and the roles are explicit:
// `display: block` removes a table's semantics.
//
// A list has links to its pages below the table. The URL contains the page (`?cursor=`).

import { h, patch, reconcile } from "../dom.js";
import { href } from "../router.js";

/**
 * Returns `{ element, update(items) }`. The element is hidden while there are no items.
 *
 * @template T
 * @param {TableOptions<T>} options
 */
export function createTable({ caption, columns, keyOf }) {
  const body = h("tbody", { role: "rowgroup" });
  const element = h(
    "table",
    { class: "table", role: "table" },
    h("caption", { class: "visually-hidden" }, caption),
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        columns.map(({ label, class: name }) =>
          h("th", { scope: "col", role: "columnheader", class: name }, label),
        ),
      ),
    ),
    body,
  );

  function create() {
    return h(
      "tr",
      { role: "row" },
      columns.map(({ label, class: name, header }) =>
        header
          ? h("th", {
              scope: "row",
              role: "rowheader",
              class: name,
              "data-label": label,
            })
          : h("td", { role: "cell", class: name, "data-label": label }),
      ),
    );
  }

  /** @param {HTMLTableRowElement} row @param {T} item */
  function update(row, item) {
    columns.forEach((column, index) => patch(row.cells[index], column.render(item)));
  }

  return {
    element,
    /** @param {T[]} items */
    update(items) {
      const focusedRow = [...body.rows].findIndex((row) => row.contains(document.activeElement));
      element.hidden = items.length === 0;
      reconcile(body, items, { keyOf, create, update });
      const focusLeft = focusedRow >= 0 && !body.contains(document.activeElement);
      if (focusLeft && body.rows.length > 0) {
        const nearest = body.rows[Math.min(focusedRow, body.rows.length - 1)];
        /** @type {HTMLElement?} */
        const target = nearest.querySelector("a, button");
        target?.focus({ preventScroll: true });
      }
    },
  };
}

/**
 * Returns `{ element, update(cursor, next) }` for the dashboard page at `path`.
 *
 * @param {string} path
 */
export function createPages(path) {
  const element = h("nav", { class: "pages", "aria-label": "Pages" });
  return {
    element,
    /** @param {string} cursor @param {string?} [next] */
    update(cursor, next) {
      patch(
        element,
        cursor && h("a", { class: "button", href: href(path) }, "First page"),
        next &&
          h(
            "a",
            {
              class: "button",
              href: href(path, { cursor: next }),
              rel: "next",
            },
            "Next page",
          ),
      );
    },
  };
}
