// The facts of a job: its status, targets, times and retries; its error and its result.

import { h } from "../../dom.js";
import { count, prettyJson } from "../../format.js";
import { href, jobHref } from "../../router.js";
import { isFinished, jobDuration, progressBar, statusBadge } from "../../components/job.js";
import { fullTime } from "../../components/time.js";

/** @type {Partial<Record<JobStatus, string>>} */
const HEADLINES = {
  failed: "The job failed.",
  cancelled: "The job was cancelled.",
  completed: "The job completed with an error.",
};

/** Returns the entries of a `dl`. @param {Job} job @param {boolean} isCancelling */
export function jobFacts(job, isCancelling) {
  const { targets, waiting_for: busy = [] } = job;
  return [
    fact("Status", [
      statusBadge(job.status),
      job.dry_run && h("span", { class: "tag" }, "dry run"),
      isCancelling && h("span", { class: "tag" }, "cancelling"),
    ]),
    job.batch && fact("Devices", batchCounts(job.batch.counts)),
    busy.length > 0 && fact("Waits for", `${busy.join(", ")} (in use by other jobs)`),
    job.paused_by && fact("Paused by", pauseText(job.paused_by)),
    job.held && fact("Waits for", "its batch"),
    job.progress && !isFinished(job.status) && fact("Progress", progressBar(job.progress)),
    job.description && fact("Description", job.description),
    fact(
      "Targets",
      targets.length === 0
        ? "None"
        : targets.map((name, index) => [
            index > 0 ? ", " : "",
            h("a", { href: href("", { target: name }) }, name),
          ]),
    ),
    fact("Created", fullTime(job.created_at)),
    job.submitted_by && fact("Submitted by", job.submitted_by),
    job.scheduled_for && fact("Scheduled for", fullTime(job.scheduled_for)),
    fact(
      job.attempt > 1 ? `Started attempt ${count(job.attempt)}` : "Started",
      job.started_at ? fullTime(job.started_at) : "Not yet",
    ),
    job.completed_at && fact("Finished", fullTime(job.completed_at)),
    job.started_at && fact("Duration", jobDuration(job)),
    job.next_attempt_at &&
      !isFinished(job.status) &&
      fact("Next attempt", fullTime(job.next_attempt_at)),
    job.max_retries > 0 &&
      fact("Retries", `${count(job.retry_count)} of ${count(job.max_retries)}`),
    job.timeout_seconds && fact("Timeout", `${count(job.timeout_seconds)} s per attempt`),
    job.priority !== 0 && fact("Priority", job.priority),
    job.worker_id && fact("Worker", h("code", {}, job.worker_id)),
    job.rerun_of &&
      fact("Rerun of", h("a", { href: jobHref(job.rerun_of) }, h("code", {}, job.rerun_of))),
    job.parent_id &&
      fact("Child of", h("a", { href: jobHref(job.parent_id) }, h("code", {}, job.parent_id))),
    job.plugin_digest && fact("Plugin digest", h("code", {}, job.plugin_digest)),
  ];
}

/** @param {string} name @param {Child} value */
function fact(name, value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}

/** `3 completed, 1 failed, 6 not started of 10` @param {BatchCounts} counts */
function batchCounts({ total, ...counts }) {
  const said = Object.entries(counts).filter(([, number]) => number > 0);
  return `${said.map(([what, number]) => `${count(number)} ${what.replace("_", " ")}`).join(", ")} of ${count(total)}`;
}

/** @param {JobPause} pause */
function pauseText({ pause, reason, until }) {
  return [
    h("code", {}, pause),
    reason && `: ${reason}`,
    until ? [" until ", fullTime(until)] : " until it is removed",
  ];
}

/** @param {Job} job */
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

/**
 * JSON, except for texts of several lines, such as a diff, which are shown as text.
 *
 * @param {unknown} value
 */
export function jobResult(value) {
  if (typeof value === "string") return h("pre", { class: "code", tabindex: "0" }, value);
  const isText = (/** @type {unknown} */ part) => typeof part === "string" && part.includes("\n");
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  const entries = isObject ? Object.entries(value) : [];
  const texts = entries.filter(([, part]) => isText(part));
  const rest =
    texts.length > 0 ? Object.fromEntries(entries.filter(([, part]) => !isText(part))) : value;
  return h(
    "div",
    { class: "result-parts" },
    texts.length > 0 && texts.length === entries.length
      ? null
      : h("pre", { class: "code", tabindex: "0" }, prettyJson(rest ?? null)),
    texts.map(([name, text]) => [
      h("h3", {}, name),
      h("pre", { class: "code", tabindex: "0" }, text),
    ]),
  );
}
