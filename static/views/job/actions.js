// The actions on a job: cancel, submit again, rerun parts of a batch, delete.

import { may } from "../../account.js";
import { api } from "../../api.js";
import { button, h, setText } from "../../dom.js";
import { andMore, plural } from "../../format.js";
import { href, jobHref, navigate } from "../../router.js";
import { confirmDialog } from "../../components/dialog.js";
import { isFinished } from "../../components/job.js";

const TARGETS_NAMED = 10;

/** Returns `element`, `update(job)` and `isCancelling()`. @param {ActionsOptions} options */
export function createActions({ id, signal, flash, refresh }) {
  /** The job; null until it is loaded, which shows the buttons. @type {Job?} */
  let job = null;
  let cancelAsked = false;

  const cancel = button({ onClick: cancelJob }, "Cancel job");
  const again = h("a", { class: "button", href: href("new", { from: id }) }, "Submit again…");
  const failed = button({ onClick: () => rerun("failed") }, "Rerun failed");
  const unfinished = button({ onClick: () => rerun("unfinished") }, "Rerun unfinished");
  const remove = button(
    {
      class: "button button-danger-quiet",
      onClick: deleteJob,
      "aria-describedby": "delete-reason",
    },
    "Delete…",
  );
  const reason = h("span", { class: "muted", id: "delete-reason" });

  return {
    element: h(
      "div",
      { class: "actions" },
      h(
        "div",
        { class: "actions-row" },
        may("jobs.cancel") && cancel,
        may("jobs.submit") && [again, failed, unfinished],
        may("jobs.delete") && [remove, reason],
      ),
    ),
    isCancelling,
    /** @param {Job} now */
    update(now) {
      job = now;
      const finished = isFinished(now.status);
      if (finished && document.activeElement === cancel) again.focus();
      cancel.hidden = finished;
      const left = finished && now.batch ? now.batch.counts : null;
      failed.hidden = !left?.failed;
      unfinished.hidden = !left || left.completed === left.total;
      showCancelling();
      remove.disabled = now.status === "running";
      setText(reason, remove.disabled ? "A running job cannot be deleted; cancel it first." : "");
    },
  };

  function isCancelling() {
    return job !== null && !isFinished(job.status) && (cancelAsked || job.cancel_requested);
  }

  function showCancelling() {
    // Not `disabled`, which would remove the focus.
    cancel.setAttribute("aria-disabled", String(isCancelling()));
    setText(cancel, isCancelling() ? "Cancelling…" : "Cancel job");
  }

  async function cancelJob() {
    if (!job || isCancelling()) return;
    const cancelled = await confirmDialog({
      title: "Cancel this job?",
      body: cancelConsequences(job),
      confirm: "Cancel job",
      confirming: "Cancelling…",
      dismiss: "Do not cancel",
      action: () => api.cancelJob(id),
      signal,
    });
    if (signal.aborted) return;
    if (cancelled) {
      cancelAsked = true;
      showCancelling();
      flash("Cancellation requested. Commands already sent to a device are not undone.");
    }
    await refresh();
  }

  /** @param {"failed" | "unfinished"} only */
  async function rerun(only) {
    if (!job?.batch) return;
    const { counts } = job.batch;
    const devices = only === "failed" ? counts.failed : counts.total - counts.completed;
    let newId = "";
    const submitted = await confirmDialog({
      title: only === "failed" ? "Rerun the failed devices?" : "Rerun the unfinished devices?",
      body: h(
        "p",
        {},
        "A new job of plugin ",
        h("strong", {}, job.plugin),
        " is submitted for the ",
        h("strong", {}, plural(devices, "device")),
        only === "failed" ? " on which this job failed." : " on which this job did not complete.",
      ),
      confirm: "Submit the job",
      confirming: "Submitting…",
      dismiss: "Do not submit",
      action: async () => {
        newId = (await api.rerunJob(id, only)).id;
      },
      signal,
    });
    if (!submitted || signal.aborted) return;
    flash("The job was submitted again.");
    navigate(jobHref(newId));
  }

  async function deleteJob() {
    if (!job) return;
    const deleted = await confirmDialog({
      title: "Delete this job?",
      body: [
        h(
          "p",
          {},
          "The job ",
          h("strong", {}, job.plugin),
          " on ",
          targetsOf(job),
          ", with its results, its log and ",
          job.batch ? `its ${plural(job.batch.counts.total, "child job")}` : "its child jobs",
          ". This cannot be undone.",
        ),
        h("p", {}, h("code", {}, id)),
      ],
      confirm: "Delete job",
      confirming: "Deleting…",
      action: () => api.deleteJob(id),
      signal,
    });
    if (signal.aborted) return;
    if (!deleted) {
      refresh();
      return;
    }
    flash(`Job ${id} was deleted.`);
    navigate(href());
  }
}

/** @param {Job} job */
function targetsOf({ targets }) {
  return andMore(targets, TARGETS_NAMED) || "no target";
}

/**
 * Describes the consequences of a cancellation: the devices, and the number of child jobs.
 *
 * @param {Job} job
 */
function cancelConsequences(job) {
  if (job.batch) {
    const { running, waiting, held } = job.batch.counts;
    return [
      h(
        "p",
        {},
        "The batch of ",
        h("strong", {}, job.plugin),
        " for ",
        h("strong", {}, plural(job.batch.counts.total, "device")),
        " is cancelled:",
      ),
      h(
        "ul",
        {},
        h("li", {}, `${plural(running, "running child job")} will be stopped.`),
        h("li", {}, `${plural(waiting + held, "waiting child job")} will not run.`),
      ),
      h("p", {}, "Commands already sent to a device are not undone."),
    ];
  }
  const named = ["The job ", h("strong", {}, job.plugin), " on ", h("strong", {}, targetsOf(job))];
  if (job.status !== "running") return h("p", {}, named, " has not started and will not run.");
  return [
    h("p", {}, named, " and its running child jobs will be stopped."),
    h(
      "p",
      {},
      "Commands already sent to a device are not undone, so a change may remain incomplete.",
    ),
  ];
}
