// The facts of a job: its status, targets, times and retries.

import { h } from "../../dom.js";
import { count } from "../../format.js";
import { href, jobHref } from "../../router.js";
import { jobDuration, progressBar } from "../../components/job.js";
import { isFinished, statusBadge } from "../../components/status.js";
import { fullTime } from "../../components/time.js";

/** Returns the entries of a `dl`. */
export function jobFacts(job, isCancelling) {
  const targets = job.targets ?? [];
  return [
    fact("Status", [
      statusBadge(job.status),
      job.dry_run && h("span", { class: "tag" }, "dry run"),
      isCancelling && h("span", { class: "tag" }, "cancelling"),
    ]),
    job.batch && fact("Devices", batchCounts(job.batch.counts)),
    job.waiting_for?.length > 0 &&
      fact("Waits for", `${job.waiting_for.join(", ")} (in use by other jobs)`),
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
    Boolean(job.priority) && fact("Priority", job.priority),
    job.worker_id && fact("Worker", h("code", {}, job.worker_id)),
    job.rerun_of &&
      fact("Rerun of", h("a", { href: jobHref(job.rerun_of) }, h("code", {}, job.rerun_of))),
    job.parent_id &&
      fact("Child of", h("a", { href: jobHref(job.parent_id) }, h("code", {}, job.parent_id))),
    job.plugin_digest && fact("Plugin digest", h("code", {}, job.plugin_digest)),
  ];
}

function fact(name, value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}

/** `3 completed, 1 failed, 6 not started of 10` */
function batchCounts({ total, ...counts }) {
  const said = Object.entries(counts).filter(([, number]) => number > 0);
  return `${said.map(([what, number]) => `${count(number)} ${what.replace("_", " ")}`).join(", ")} of ${count(total)}`;
}

function pauseText({ pause, reason, until }) {
  return [
    h("code", {}, pause),
    reason && `: ${reason}`,
    until ? [" until ", fullTime(until)] : " until it is removed",
  ];
}
