// Parts of a plugin that several views show: capabilities, errors.

import { h } from "../dom.js";
import { plural, shortDigest } from "../format.js";
import { relativeTime } from "./time.js";

/**
 * Returns whether a plugin can run. A plugin with a digest still serves its last version while it
 * is broken or compiling.
 */
export function canRun(plugin) {
  return (plugin.status === "ready" || Boolean(plugin.digest)) && !(plugin.not_granted?.length > 0);
}

/** The badge of a plugin: its text, and the job status with the same colours. */
export function pluginBadge({ status }) {
  const [text, colours] = { broken: ["Broken", "failed"], compiling: ["Compiling", "running"] }[
    status
  ] ?? ["Ready", "completed"];
  return h("span", { class: "badge", "data-status": colours }, text);
}

export function pluginName(name, digest) {
  return h(
    "span",
    { class: "plugin-name" },
    name,
    digest ? h("code", { class: "digest", title: digest }, `@${shortDigest(digest)}`) : null,
  );
}

/** The location of the error, as file:line:column, and its message. */
export function pluginError(plugin) {
  const error = plugin.error ?? { message: "No error message." };
  const place = [error.file, error.line, error.column]
    .filter((part) => part !== null && part !== undefined)
    .join(":");
  return h(
    "div",
    { class: "notice notice-error" },
    h("p", {}, h("strong", {}, "Failed to load."), place ? [" ", h("code", {}, place)] : null),
    h("pre", { class: "message" }, error.message),
    h(
      "p",
      {},
      plugin.digest
        ? [
            "Jobs run the last version that loaded, ",
            h("code", {}, shortDigest(plugin.digest)),
            ".",
          ]
        : "There is no earlier version, so jobs cannot be submitted.",
    ),
  );
}

/** Warnings: another file with the same name, and capabilities that the operator does not grant. */
export function pluginWarnings(plugin) {
  return [
    plugin.conflict &&
      plugin.status !== "broken" &&
      h(
        "div",
        { class: "notice notice-warning" },
        h("p", {}, h("code", {}, plugin.conflict), " has the same plugin name and is ignored."),
      ),
    plugin.not_granted?.length > 0 &&
      h(
        "div",
        { class: "notice notice-warning" },
        h(
          "p",
          {},
          h("strong", {}, "Its jobs are rejected."),
          " The server's policy does not grant these needs:",
        ),
        h(
          "ul",
          {},
          plugin.not_granted.map((need) => h("li", {}, h("code", {}, need))),
        ),
      ),
  ];
}

/** The loaded versions, fetched when the reader opens the list. */
export function versionsList(versions) {
  return h(
    "ul",
    { class: "versions" },
    versions.map(({ digest, last_seen, jobs, serving }) =>
      h(
        "li",
        {},
        h("code", { title: digest }, shortDigest(digest)),
        " loaded ",
        relativeTime(last_seen),
        `, ran ${plural(jobs, "job")}`,
        serving ? ", in use" : "",
      ),
    ),
  );
}

/** The declared capabilities: `{ ssh: { exec: ["show *"] }, storage: true }` as a list. */
export function needsList(needs) {
  const lines = needsLines(needs);
  if (lines.length === 0) return h("p", { class: "muted" }, "No capabilities.");
  return h(
    "ul",
    { class: "needs" },
    lines.map(({ capability, detail }) =>
      h("li", {}, h("strong", {}, capability), detail ? [" ", h("code", {}, detail)] : null),
    ),
  );
}

function needsLines(needs, prefix = "") {
  return Object.entries(needs ?? {}).flatMap(([name, scope]) => {
    const capability = prefix + name;
    if (isNothing(scope)) return [];
    if (scope === true) return [{ capability, detail: "" }];
    if (typeof scope !== "object" || Array.isArray(scope))
      return [{ capability, detail: detailOf(scope) }];
    const parts = needsLines(scope, `${capability}.`);
    return parts.length > 0 ? parts : [{ capability, detail: "" }];
  });
}

function isNothing(scope) {
  return scope === false || scope === null || (Array.isArray(scope) && scope.length === 0);
}

function detailOf(value) {
  if (Array.isArray(value)) return value.map(detailOf).join(", ");
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}
