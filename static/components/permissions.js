// Roles and permissions in words. Which role has which permission is known to the server alone.

import { h } from "../dom.js";

/** @type {Record<Role, string>} */
export const ROLES = {
  viewer: "sees everything but users and what devices answered",
  reader: "a viewer that reads results, logs and outputs",
  operator: "a reader that submits and cancels jobs, pauses them, and tests connections",
  author: "an operator that writes schedules and reloads plugins",
  admin: "everything",
  auditor: "a viewer that sees users, their sessions and tokens",
};

/** @type {Record<Permission, string>} */
const MEANINGS = {
  "jobs.read": "see jobs, without what devices answered",
  "jobs.outputs": "read results, logs and outputs of jobs",
  "jobs.submit": "submit and rerun jobs",
  "jobs.cancel": "cancel jobs",
  "jobs.delete": "delete jobs",
  "connections.read": "see connections, without their secrets",
  "connections.test": "test a stored connection",
  "connections.write": "create, change and delete connections",
  "connections.trust": "change a connection's address, route and trusted host keys",
  "connections.inline": "use an address and credentials that are not stored",
  "terminals.open": "open a terminal on a device",
  "devices.read": "see the state of devices",
  "schedules.read": "see schedules",
  "schedules.write": "create, change, delete, enable and disable schedules",
  "schedules.trigger": "run the job of a schedule now",
  "pauses.read": "see pauses",
  "pauses.write": "create, change, end and delete pauses",
  "plugins.read": "see plugins",
  "plugins.reload": "reload plugins",
  "notifications.read": "see notifications",
  "notifications.test": "send a test notification",
  "health.read": "see the details of the server's health",
  "users.read": "see users, their sessions and tokens",
  "users.write": "create, change and delete users, and revoke their sessions and tokens",
};

export const PERMISSIONS = /** @type {Permission[]} */ (Object.keys(MEANINGS));

/** @param {Permission[]} permissions */
export function permissionList(permissions) {
  return h(
    "ul",
    { class: "needs" },
    permissions.map((name) => h("li", {}, words(name), " ", h("code", { class: "muted" }, name))),
  );
}

/**
 * Checkboxes for `offered`, as `control`; `read()` returns the checked ones.
 *
 * @param {Permission[]} offered
 * @param {Permission[]} [checked]
 */
export function permissionPicker(offered, checked = []) {
  const boxes = offered.map((name) => ({
    name,
    box: h("input", { type: "checkbox", value: name, checked: checked.includes(name) }),
  }));
  return {
    control: h(
      "div",
      { class: "checks checks-scroll" },
      boxes.map(({ name, box }) =>
        h(
          "label",
          { class: "check" },
          box,
          h("span", { class: "permission" }, words(name), " ", h("code", { class: "muted" }, name)),
        ),
      ),
    ),
    read: () => boxes.filter(({ box }) => box.checked).map(({ name }) => name),
  };
}

/** A newer server may have permissions that this page does not know. @param {Permission} name */
function words(name) {
  return MEANINGS[name] ?? "";
}
