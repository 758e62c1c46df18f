// What more than one view shows of a job: how long it took, how far it is, when it goes on.

import { h } from "../dom.js";
import { count } from "../format.js";
import { elapsed, relativeTime } from "./time.js";

/** How long the attempt took, or takes so far. Waiting for the next one is no work: then nothing. */
export function jobDuration(job) {
  if (!job.completed_at && job.status !== "running") return "–";
  return elapsed(job.started_at, job.completed_at);
}

/** What a waiting job waits for; null when it goes on as soon as a worker is free. */
export function nextTurn(job) {
  if (job.status === "retrying") return job.next_attempt_at;
  return job.status === "pending" ? job.scheduled_for : null;
}

export function startedCell(job) {
  const next = nextTurn(job);
  if (next) return [job.status === "retrying" ? "again " : "due ", relativeTime(next)];
  return relativeTime(job.started_at);
}

/** A bar where the plugin said how much there is to do, and its words. */
export function progressBar({ done, total, message }) {
  const words = total > 0 ? `${count(done)} of ${count(total)}` : count(done);
  return h(
    "span",
    { class: "progress" },
    total > 0 && h("progress", { max: total, value: Math.min(done, total), "aria-label": "Progress" }),
    h("span", {}, message ? `${words}: ${message}` : words),
  );
}
