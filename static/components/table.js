// A table with rows that are updated in place. On narrow screens the stylesheet turns every row
// into a card. Therefore the cells carry their column's label, and the roles are explicit:
// `display: block` removes a table's semantics.

import { h, patch, reconcile } from "../dom.js";

/**
 * `columns`: `[{ label, render(item) → node or text, class?, header? }]`. `header` marks the column
 * that names the row. Returns `{ element, update(items) }`.
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
          ? h("th", { scope: "row", role: "rowheader", class: name, "data-label": label })
          : h("td", { role: "cell", class: name, "data-label": label }),
      ),
    );
  }

  function update(row, item) {
    columns.forEach((column, index) => patch(row.cells[index], column.render(item)));
  }

  return {
    element,
    update(items) {
      const focusedRow = [...body.rows].findIndex((row) => row.contains(document.activeElement));
      reconcile(body, items, { keyOf, create, update });
      const focusLeft = focusedRow >= 0 && !body.contains(document.activeElement);
      if (focusLeft && body.rows.length > 0) {
        const nearest = body.rows[Math.min(focusedRow, body.rows.length - 1)];
        nearest.querySelector("a, button")?.focus({ preventScroll: true });
      }
    },
  };
}
