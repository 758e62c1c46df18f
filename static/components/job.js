// Parts of a job that several views show: duration, progress, next attempt.

import { h } from "../dom.js";
import { count } from "../format.js";
import { elapsed, relativeTime } from "./time.js";

/**
 * Returns the duration of the attempt, so far if it is running; "–" while the job waits for the
 * next one.
 */
export function jobDuration(job) {
  if (!job.completed_at && job.status !== "running") return "–";
  return elapsed(job.started_at, job.completed_at);
}

/** Returns the time that a waiting job waits for; null if it starts as soon as a worker is free. */
export function nextTurn(job) {
  if (job.status === "retrying") return job.next_attempt_at;
  return job.status === "pending" ? job.scheduled_for : null;
}

export function startedCell(job) {
  const next = nextTurn(job);
  if (next) return [job.status === "retrying" ? "again " : "due ", relativeTime(next)];
  return relativeTime(job.started_at);
}

/** A progress bar if the plugin reported a total, and the plugin's message. */
export function progressBar({ done, total, message }) {
  const words = total > 0 ? `${count(done)} of ${count(total)}` : count(done);
  return h(
    "span",
    { class: "progress" },
    total > 0 &&
      h("progress", { max: total, value: Math.min(done, total), "aria-label": "Progress" }),
    h("span", {}, message ? `${words}: ${message}` : words),
  );
}
