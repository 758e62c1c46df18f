// Parts of a plugin that several views show: capabilities, errors.

import { h } from "../dom.js";
import { plural, shortDigest } from "../format.js";
import { emptyBox } from "./refresher.js";
import { relativeTime } from "./time.js";

const BADGES = {
  ready: ["Ready", "completed"],
  compiling: ["Compiling", "running"],
  broken: ["Broken", "failed"],
};

/**
 * Returns whether a plugin can run. A plugin with a digest still serves its last version while it
 * is broken or compiling.
 *
 * @param {PluginResponse} plugin
 */
export function canRun({ status, digest, not_granted: missing = [] }) {
  return (status === "ready" || Boolean(digest)) && missing.length === 0;
}

/**
 * The badge of a plugin: its text, and the job status with the same colours.
 *
 * @param {PluginResponse} plugin
 */
export function pluginBadge({ status }) {
  const [text, colours] = BADGES[status] ?? BADGES.ready;
  return h("span", { class: "badge", "data-status": colours }, text);
}

/** @param {string} name @param {string?} [digest] */
export function pluginName(name, digest) {
  return h(
    "span",
    { class: "plugin-name" },
    name,
    digest ? h("code", { class: "digest", title: digest }, `@${shortDigest(digest)}`) : null,
  );
}

/**
 * The location of the error, as file:line:column, and its message.
 *
 * @param {PluginResponse} plugin
 */
export function pluginError({ error, digest }) {
  const place = [error?.file, error?.line, error?.column]
    .filter((part) => part !== null && part !== undefined)
    .join(":");
  return h(
    "div",
    { class: "notice notice-error" },
    h("p", {}, h("strong", {}, "Failed to load."), place ? [" ", h("code", {}, place)] : null),
    h("pre", { class: "message" }, error?.message ?? "No error message."),
    h(
      "p",
      {},
      digest
        ? ["Jobs run the last version that loaded, ", h("code", {}, shortDigest(digest)), "."]
        : "There is no earlier version, so jobs cannot be submitted.",
    ),
  );
}

export function noPluginsBox() {
  return emptyBox(
    "No plugins.",
    h(
      "p",
      {},
      "Put a playbook (",
      h("code", {}, "*.rhai"),
      ") into the scripts directory, or a component (",
      h("code", {}, "*.wasm"),
      ") into the plugins directory.",
    ),
  );
}

/**
 * Warnings: another file with the same name, and capabilities that the operator does not grant.
 *
 * @param {PluginResponse} plugin
 */
export function pluginWarnings({ conflict, status, not_granted: missing = [] }) {
  return [
    conflict &&
      status !== "broken" &&
      h(
        "div",
        { class: "notice notice-warning" },
        h("p", {}, h("code", {}, conflict), " has the same plugin name and is ignored."),
      ),
    missing.length > 0 &&
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
          missing.map((need) => h("li", {}, h("code", {}, need))),
        ),
      ),
  ];
}

/**
 * The loaded versions, fetched when the reader opens the list.
 *
 * @param {PluginVersion[]} versions
 */
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

/**
 * The declared capabilities: `{ ssh: { exec: ["show *"] }, storage: true }` as a list.
 *
 * @param {object?} [needs]
 */
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

/** @param {object?} [needs] @returns {{ capability: string, detail: string }[]} */
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

/** @param {unknown} scope */
function isNothing(scope) {
  return scope === false || scope === null || (Array.isArray(scope) && scope.length === 0);
}

/** @param {unknown} value @returns {string} */
function detailOf(value) {
  if (Array.isArray(value)) return value.map(detailOf).join(", ");
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}
