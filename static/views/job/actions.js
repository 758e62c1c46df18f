// The actions on a job: cancel, submit again, rerun parts of a batch, delete.

import { api } from "../../api.js";
import { h, setText } from "../../dom.js";
import { andMore, plural } from "../../format.js";
import { href, jobHref, navigate } from "../../router.js";
import { confirmDialog } from "../../components/dialog.js";
import { isFinished } from "../../components/status.js";

const TARGETS_NAMED = 10;

/** Returns `element`, `update(job)` and `isCancelling()`. `refresh()` reloads the page's data. */
export function createActions({ id, signal, flash, refresh }) {
  /** @type {any} */
  let job = null;
  let cancelAsked = false;

  const cancel = h("button", { type: "button", class: "button", onClick: cancelJob }, "Cancel job");
  const again = h("a", { class: "button", href: href("new", { from: id }) }, "Submit again…");
  const failed = h(
    "button",
    { type: "button", class: "button", onClick: () => rerun("failed") },
    "Rerun failed",
  );
  const unfinished = h(
    "button",
    { type: "button", class: "button", onClick: () => rerun("unfinished") },
    "Rerun unfinished",
  );
  const remove = h(
    "button",
    {
      type: "button",
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
      h("div", { class: "actions-row" }, cancel, again, failed, unfinished, remove, reason),
    ),
    isCancelling,
    update(now) {
      job = now;
      const finished = isFinished(job.status);
      if (finished && document.activeElement === cancel) again.focus();
      cancel.hidden = finished;
      const left = finished && job.batch ? job.batch.counts : null;
      failed.hidden = !(left?.failed > 0);
      unfinished.hidden = !left || left.completed === left.total;
      showCancelling();
      remove.disabled = job.status === "running";
      setText(reason, remove.disabled ? "A running job cannot be deleted; cancel it first." : "");
    },
  };

  function isCancelling() {
    return !isFinished(job.status) && (cancelAsked || job.cancel_requested);
  }

  function showCancelling() {
    // Not `disabled`, which would remove the focus.
    cancel.setAttribute("aria-disabled", String(isCancelling()));
    setText(cancel, isCancelling() ? "Cancelling…" : "Cancel job");
  }

  async function cancelJob() {
    if (isCancelling()) return;
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

  async function rerun(only) {
    const { counts } = job.batch;
    const devices = only === "failed" ? counts.failed : counts.total - counts.completed;
    let newId = null;
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

function targetsOf({ targets }) {
  return targets?.length > 0 ? andMore(targets, TARGETS_NAMED) : "no target";
}

/** Describes the consequences of a cancellation: the devices, and the number of child jobs. */
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
