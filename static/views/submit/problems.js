// The problems of a job that was not submitted: each at its field, and all of them above the form.

import { button, h, patch } from "../../dom.js";

/** Pointers to the fields of the form, with the older names of some. */
const PLUGIN = ["/plugin", "/job_type"];
const TARGETS = ["/targets"];
const DESCRIPTION = ["/description"];
const PARAMS = ["/params", "/payload"];
const STEMS = [...PLUGIN, ...TARGETS, ...DESCRIPTION, ...PARAMS];

/**
 * Returns `{ element, clear(), show(problems, params, error) }`.
 *
 * @param {SubmitFields} fields
 */
export function createProblems({ plugin, targets, description }) {
  const element = h("div", { class: "problem-summary", tabindex: "-1" });
  const clear = () => patch(element);
  return { element, clear, show };

  /**
   * Shows each problem at its field, and above the form the error with links to the fields.
   *
   * @param {Problem[]} problems
   * @param {ParamsForm} params
   * @param {ApiError} [error]
   */
  function show(problems, params, error) {
    const names = targets.read();
    const fixed = [
      {
        field: plugin,
        messages: below(problems, PLUGIN).map(({ message }) => message),
      },
      {
        field: targets.field,
        messages: below(problems, TARGETS).map((problem) => targetProblem(problem, names)),
      },
      {
        field: description,
        messages: below(problems, DESCRIPTION).map(({ message }) => message),
      },
    ];
    for (const { field, messages } of fixed) field.showProblems(messages);
    const inParams = params.showProblems(below(problems, PARAMS));

    const atFields = [...fixed.filter(({ messages }) => messages.length > 0), ...inParams.atFields];
    const elsewhere = [
      ...inParams.elsewhere.map(({ pointer, message }) => ({
        pointer: `/params${pointer}`,
        message,
      })),
      ...problems.filter(({ pointer }) => !STEMS.some((stem) => isBelow(pointer, stem))),
    ];
    if (!error && atFields.length === 0 && elsewhere.length === 0) return clear();

    const lines = [...atFields.map(fieldLine), ...elsewhere.map(pointerLine)];
    element.replaceChildren(
      h(
        "div",
        { class: "notice notice-error", role: "alert" },
        h(
          "p",
          {},
          h("strong", {}, "The job was not submitted."),
          error && lines.length === 0 ? ` ${error.message}` : "",
        ),
        lines.length > 0 && h("ul", {}, lines),
      ),
    );
    if (atFields.length > 0) atFields[0].field.focus();
    else {
      element.focus();
      element.scrollIntoView({ block: "nearest" });
    }
  }
}

/** @param {string} pointer @param {string} stem */
function isBelow(pointer, stem) {
  return pointer === stem || pointer.startsWith(`${stem}/`);
}

/**
 * Returns the problems below `stems`, relative to them.
 *
 * @param {Problem[]} problems
 * @param {string[]} stems
 */
function below(problems, stems) {
  return stems.flatMap((stem) =>
    problems
      .filter(({ pointer }) => isBelow(pointer, stem))
      .map(({ pointer, message }) => ({
        pointer: pointer.slice(stem.length),
        message,
      })),
  );
}

/** @param {Problem} problem @param {string[]} names */
function targetProblem({ pointer, message }, names) {
  const name = names[Number(pointer.slice(1))];
  return pointer && name ? `${name}: ${message}` : message;
}

/** @param {FieldProblems} problem */
function fieldLine({ field, messages }) {
  return h(
    "li",
    {},
    button({ class: "link", onClick: () => field.focus() }, field.label),
    `: ${messages.join("; ")}`,
  );
}

/** @param {Problem} problem */
function pointerLine({ pointer, message }) {
  return h("li", {}, pointer && [h("code", {}, pointer), ": "], message);
}
