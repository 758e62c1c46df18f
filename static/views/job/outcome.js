// The outcome of a job: its error and its result.

import { h } from "../../dom.js";
import { prettyJson } from "../../format.js";

const HEADLINES = {
  failed: "The job failed.",
  cancelled: "The job was cancelled.",
  completed: "The job completed with an error.",
};

export function jobError({ status, error_code: code, error_message: message }) {
  if (!message) return null;
  return h(
    "div",
    { class: status === "cancelled" ? "notice" : "notice notice-error" },
    h(
      "p",
      {},
      h("strong", {}, HEADLINES[status] ?? "The last attempt failed."),
      code !== status && h("code", { class: "tag" }, code),
    ),
    h("pre", { class: "message" }, message),
  );
}

/** JSON, except for texts of several lines, such as a diff, which are shown as text. */
export function jobResult(value) {
  if (typeof value === "string") return h("pre", { class: "code", tabindex: "0" }, value);
  const isText = (part) => typeof part === "string" && part.includes("\n");
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  const texts = isObject ? Object.entries(value).filter(([, part]) => isText(part)) : [];
  const rest =
    texts.length > 0
      ? Object.fromEntries(Object.entries(value).filter(([, part]) => !isText(part)))
      : value;
  return h(
    "div",
    { class: "result-parts" },
    texts.length > 0 && Object.keys(rest).length === 0
      ? null
      : h("pre", { class: "code", tabindex: "0" }, prettyJson(rest ?? null)),
    texts.map(([name, text]) => [
      h("h3", {}, name),
      h("pre", { class: "code", tabindex: "0" }, text),
    ]),
  );
}
