// Selection of a job's targets: a filtered list of checkboxes. Selected targets stay selected, and
// are still listed, while the filter hides them.

import { button, h, patch, uniqueId } from "../dom.js";
import { plural } from "../format.js";
import { createField } from "./field.js";

/**
 * Returns `{ element, field, read() → names, setRule(text) }`.
 *
 * @param {Connection[]} connections
 * @param {string[]} initial
 */
export function createTargetPicker(connections, initial) {
  const known = new Set(connections.map(({ name }) => name));
  const lost = initial.filter((name) => !known.has(name));
  const filterId = uniqueId("filter");
  const filter = h("input", {
    type: "search",
    id: filterId,
    autocomplete: "off",
    placeholder: "name, address, platform or tag",
    onInput: applyFilter,
    onKeydown: keepEnter,
  });
  const chosen = h("p", { class: "muted", "aria-live": "polite" });
  const nothing = h("p", { class: "muted", hidden: true }, "No connection matches the filter.");
  const rule = h("span");

  const rows = connections.map((connection) => {
    const box = h("input", {
      type: "checkbox",
      id: uniqueId("target"),
      checked: initial.includes(connection.name),
      onChange: showChosen,
    });
    const { tags } = connection;
    return {
      name: connection.name,
      box,
      haystack: [connection.name, connection.host, connection.device_type, ...tags]
        .join(" ")
        .toLowerCase(),
      element: h(
        "label",
        { class: "check", for: box.id },
        box,
        h("span", { class: "check-name" }, connection.name),
        h(
          "span",
          { class: "muted" },
          [connection.device_type, connection.host, ...tags.map((tag) => `#${tag}`)]
            .filter(Boolean)
            .join(" · "),
        ),
      ),
    };
  });

  const list = h(
    "div",
    { class: "checks checks-scroll" },
    rows.map(({ element }) => element),
    nothing,
  );
  const selectShown = button(
    { class: "button button-small", onClick: () => setShown(true) },
    "Select all shown",
  );
  const clearShown = button(
    { class: "button button-small", onClick: () => setShown(false) },
    "Clear all shown",
  );

  const control =
    connections.length === 0
      ? h(
          "div",
          { class: "empty" },
          h(
            "p",
            {},
            "No connections yet. Add one with ",
            h("code", {}, "scheduler connection add"),
            ", then reload this page.",
          ),
        )
      : h(
          "div",
          { class: "picker" },
          lost.length > 0 &&
            h(
              "p",
              { class: "notice notice-warning" },
              `Connections not found: ${lost.join(", ")}.`,
            ),
          h(
            "div",
            { class: "picker-tools" },
            h("label", { for: filterId }, "Filter"),
            filter,
            selectShown,
            clearShown,
          ),
          list,
          chosen,
        );

  const field = createField({
    label: "Targets",
    hint: rule,
    required: true,
    group: true,
    control,
  });
  showChosen();

  function applyFilter() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows)
      row.element.hidden = !words.every((word) => row.haystack.includes(word));
    nothing.hidden = rows.some((row) => !row.element.hidden);
  }

  /** Ignores Enter, which would submit the form around the input. @param {KeyboardEvent} event */
  function keepEnter(event) {
    if (event.key === "Enter") event.preventDefault();
  }

  /** @param {boolean} checked */
  function setShown(checked) {
    for (const row of rows) {
      if (!row.element.hidden) row.box.checked = checked;
    }
    showChosen();
  }

  function read() {
    return rows.filter(({ box }) => box.checked).map(({ name }) => name);
  }

  function showChosen() {
    const names = read();
    const shown = names.slice(0, 12).join(", ");
    const rest = names.length > 12 ? ` and ${names.length - 12} more` : "";
    patch(
      chosen,
      names.length === 0
        ? "None selected."
        : `${plural(names.length, "device")} selected: ${shown}${rest}`,
    );
  }

  return {
    element: field.element,
    field,
    read,
    setRule: (/** @type {string} */ text) => patch(rule, text),
  };
}
