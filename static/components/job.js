// Parts of a job that several views show: status, duration, progress, next attempt.

import { h } from "../dom.js";
import { count } from "../format.js";
import { elapsed, relativeTime } from "./time.js";

/** In the order in which a job reaches them. @type {JobStatus[]} */
export const STATUSES = ["pending", "running", "retrying", "completed", "failed", "cancelled"];

/** @type {Set<JobStatus>} */
const FINAL = new Set(["completed", "failed", "cancelled"]);

/** @param {JobStatus} status */
export function isFinished(status) {
  return FINAL.has(status);
}

/** @param {JobStatus} status */
export function statusLabel(status) {
  return status.charAt(0).toUpperCase() + status.slice(1);
}

/**
 * The text carries the meaning; the colour and the dot only repeat it.
 *
 * @param {JobStatus} status
 */
export function statusBadge(status) {
  return h("span", { class: "badge", "data-status": status }, statusLabel(status));
}

/**
 * Returns the duration of the attempt, so far if it is running; "–" while the job waits for the
 * next one.
 *
 * @param {Job} job
 */
export function jobDuration(job) {
  if (!job.completed_at && job.status !== "running") return "–";
  return elapsed(job.started_at, job.completed_at);
}

/**
 * Returns the time that a waiting job waits for; null if it starts as soon as a worker is free.
 *
 * @param {Job} job
 */
export function nextTurn(job) {
  if (job.status === "retrying") return job.next_attempt_at;
  return job.status === "pending" ? job.scheduled_for : null;
}

/** @param {Job} job */
export function startedCell(job) {
  const next = nextTurn(job);
  if (next) return [job.status === "retrying" ? "again " : "due ", relativeTime(next)];
  return relativeTime(job.started_at);
}

/**
 * A progress bar if the plugin reported a total, and the plugin's message.
 *
 * @param {Progress} progress
 */
export function progressBar({ done, total, message }) {
  const words = total ? `${count(done)} of ${count(total)}` : count(done);
  return h(
    "span",
    { class: "progress" },
    total
      ? h("progress", {
          max: total,
          value: Math.min(done, total),
          "aria-label": "Progress",
        })
      : null,
    h("span", {}, message ? `${words}: ${message}` : words),
  );
}
