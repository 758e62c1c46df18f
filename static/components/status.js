// A job's status: its labels, the final ones, and the badge.

import { h } from "../dom.js";

/** In the order in which a job reaches them. */
export const STATUSES = ["pending", "running", "retrying", "completed", "failed", "cancelled"];

const FINAL = new Set(["completed", "failed", "cancelled"]);

export function isFinished(status) {
  return FINAL.has(status);
}

export function statusLabel(status) {
  return status.charAt(0).toUpperCase() + status.slice(1);
}

/** The text carries the meaning; the colour and the dot only repeat it. */
export function statusBadge(status) {
  return h("span", { class: "badge", "data-status": status }, statusLabel(String(status)));
}
