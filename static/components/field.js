// A labelled control with its hint and its error, associated for assistive technology.

import { h, patch, uniqueId } from "../dom.js";

/**
 * @param {FieldOptions} options
 * @returns {Field}
 */
export function createField({ label, name, hint, required = false, control, group = false }) {
  const hintId = uniqueId("hint");
  const problemId = uniqueId("problem");
  const problems = h("div", { class: "field-problem", id: problemId });
  const described = [hint ? hintId : null, problemId].filter(Boolean).join(" ");
  const words = [
    h("span", { class: "field-name" }, label),
    name && name !== label && h("code", { class: "field-key" }, name),
    required ? h("span", { class: "field-required" }, "required") : null,
  ];
  const hintLine = hint ? h("div", { class: "field-hint", id: hintId }, hint) : null;

  /** @type {HTMLElement} */
  let element;
  if (group) {
    element = h(
      "fieldset",
      { class: "field", "aria-describedby": described },
      h("legend", {}, words),
      hintLine,
      problems,
      control,
    );
  } else {
    if (!control.id) control.id = uniqueId("control");
    control.setAttribute("aria-describedby", described);
    if (required) control.setAttribute("aria-required", "true");
    element = h(
      "div",
      { class: "field" },
      h("label", { for: control.id }, words),
      hintLine,
      control,
      problems,
    );
  }

  /** @returns {HTMLElement?} */
  const target = () =>
    group ? element.querySelector("input:not([hidden]), textarea, select") : control;

  return {
    element,
    label,
    showProblems(messages) {
      element.classList.toggle("field-invalid", messages.length > 0);
      for (const input of group ? element.querySelectorAll("input[type=checkbox]") : [control]) {
        if (messages.length > 0) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
      patch(
        problems,
        messages.map((message) => h("p", {}, message)),
      );
    },
    focus() {
      target()?.focus();
      element.scrollIntoView({ block: "nearest" });
    },
  };
}
