// One job: parameters, status, replies of the devices, log; cancel, submit again, delete. Follows
// the job by its events until it and its child jobs have finished. Without events, it polls every 2
// s, and less often while the job waits for a distant time.

import { api, serverNow } from "../api.js";
import { h, patch, setText } from "../dom.js";
import { andMore, count, plural, prettyJson } from "../format.js";
import { parseJson } from "../json.js";
import { href, jobHref, navigate } from "../router.js";
import { confirmDialog } from "../components/dialog.js";
import { jobDuration, nextTurn, progressBar, startedCell } from "../components/job.js";
import { createLogList } from "../components/log-list.js";
import { pluginName } from "../components/plugin.js";
import { createRefresher, emptyBox, errorBox } from "../components/refresher.js";
import { createResultList } from "../components/result-list.js";
import { isFinished, STATUSES, statusBadge, statusLabel } from "../components/status.js";
import { createTable } from "../components/table.js";
import { fullTime } from "../components/time.js";

const FOLLOW_MS = 2_000;
/** The poll interval while events arrive; child jobs have events of their own. */
const EVENTS_MS = 10_000;
/** Events within this time are handled together. */
const NEWS_MS = 200;
const EVENTS = ["status", "progress", "log", "result", "output"];
const WAIT_MS = 30_000;
const CHILDREN_SHOWN = 100;
const TARGETS_NAMED = 10;
/**
 * Pages of results loaded per update, and the maximum of characters loaded in all, which protects
 * the browser.
 */
const RESULT_PAGES_A_TURN = 4;
const RESULT_CHARACTERS = 32_000_000;
const RESULTS_SHOWN = 5_000;

const FAILURE_HEADLINES = {
  failed: "The job failed.",
  cancelled: "The job was cancelled.",
  completed: "The job completed with an error.",
};

/** Calls `look` after events of a job, but never concurrently. */
function followEvents(id, look, signal) {
  const source = api.followJob(id);
  let looking = false;
  let again = false;
  async function soon() {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    await new Promise((resolve) => setTimeout(resolve, NEWS_MS));
    again = false;
    if (!signal.aborted && !document.hidden) await look();
    looking = false;
    if (again) soon();
  }
  for (const name of EVENTS) source.addEventListener(name, soon);
  source.addEventListener("status", ({ data }) => {
    // Closed explicitly, because an EventSource reconnects after its end.
    if (isFinished(parseJson(data).status)) source.close();
  });
  signal.addEventListener("abort", () => source.close());
  return source;
}

const CHILD_COLUMNS = [
  { label: "Status", render: (child) => statusBadge(child.status), class: "col-status" },
  { label: "Job", render: (child) => h("a", { class: "job-link", href: jobHref(child.id) }, pluginName(child.plugin, child.plugin_digest)), class: "col-job", header: true },
  { label: "Targets", render: (child) => (child.targets ?? []).join(", ") || "–", class: "col-targets" },
  { label: "Started", render: startedCell, class: "col-time" },
  { label: "Duration", render: jobDuration, class: "col-time" },
];

export function jobView({ params: { id }, signal, setTitle, flash }) {
  let job = null;
  let logComplete = false;
  let childrenFinished = true;
  let cancelAsked = false;
  let events = null;

  const heading = h("h1", { tabindex: "-1" }, "Job");
  const actions = createActions();
  const facts = h("dl", { class: "facts" });
  const failure = h("div");
  const result = h("div");
  const parameters = h("div");
  const results = createResultList();
  const stored = [];
  let storedCharacters = 0;
  const logs = createLogList({ ask: (filter, options) => api.jobLogs(id, filter, { signal, ...options }), changed: () => refresher.update() });
  const children = createTable({ caption: "Child jobs", columns: CHILD_COLUMNS, keyOf: (child) => child.id });
  const childrenNote = h("p", { class: "muted" });
  const childrenSection = section("Child jobs", childrenNote, children.element);
  const resultSection = section("Result", result);

  const content = h(
    "div",
    {},
    actions.element,
    failure,
    facts,
    resultSection,
    section("Commands and output", results.element),
    childrenSection,
    section("Log", logs.element),
    section("Parameters", parameters),
  );
  const refresher = createRefresher({
    what: "the job",
    content,
    load,
    pause,
    signal,
    missing: () => emptyBox("Job not found.", h("p", {}, "It may have been deleted. ", h("a", { href: href() }, "Go to the jobs"))),
  });

  return {
    title: "Job",
    element: h(
      "div",
      {},
      h("nav", { class: "crumbs", "aria-label": "Breadcrumbs" }, h("a", { href: href() }, "Jobs"), " / ", h("code", {}, id)),
      h("div", { class: "view-head" }, heading, refresher.controls),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
  };

  function pause() {
    if (!job || !logComplete) return FOLLOW_MS;
    // Child jobs continue after their parent has ended.
    if (isFinished(job.status)) return childrenFinished ? null : FOLLOW_MS;
    const next = nextTurn(job);
    if (next && Date.parse(next) - serverNow() > 2 * WAIT_MS) return WAIT_MS;
    return events?.readyState === EventSource.OPEN && childrenFinished ? EVENTS_MS : FOLLOW_MS;
  }

  async function load(turnSignal) {
    const options = { signal: turnSignal };
    // Loads the job first: if it has finished, the following requests are complete, and the last
    // ones.
    const now = await api.job(id, options);
    // Events only trigger updates, so a finished job needs none.
    if (!isFinished(now.status)) events ??= followEvents(id, () => refresher.update(), signal);
    const [resultsAnswer, childrenAnswer] = await Promise.all([
      loadResults(options),
      api.listJobs({ parent: id, limit: CHILDREN_SHOWN }, options),
      loadLogs(options),
    ]);
    if (turnSignal.aborted) return null;
    if (job && !isFinished(job.status) && isFinished(now.status)) flash(`The job is ${now.status}.`);
    job = now;
    showJob();
    results.update(stored, resultsAnswer.running, job, resultsAnswer.next_after !== null);
    logs.settle(job);
    // Filtered here as well, so that a server without the filter cannot make every job a child.
    showChildren(childrenAnswer.jobs.filter((child) => child.parent_id === id), childrenAnswer.next_cursor);
    return `The job is ${job.status}.`;
  }

  /** Loads the results after the last one seen. A stored result never changes. */
  async function loadResults(options) {
    const isFull = () => storedCharacters > RESULT_CHARACTERS || stored.length > RESULTS_SHOWN;
    let answer = { running: [], next_after: stored.at(-1)?.id };
    for (let page = 0; page < RESULT_PAGES_A_TURN && !isFull(); page += 1) {
      answer = await api.jobResults(id, { after: stored.at(-1)?.id }, options);
      stored.push(...answer.results);
      storedCharacters += answer.results.reduce((sum, { output }) => sum + output.length, 0);
      if (answer.next_after === null) break;
    }
    return answer;
  }

  async function loadLogs(options) {
    logComplete = false;
    logComplete = await logs.load(options);
  }

  function showJob() {
    setTitle(`${statusLabel(job.status)}: ${job.plugin}`);
    patch(heading, pluginName(job.plugin, job.plugin_digest));
    actions.update();
    const headline = FAILURE_HEADLINES[job.status] ?? "The last attempt failed.";
    patch(
      failure,
      job.error_message &&
        h(
          "div",
          { class: job.status === "cancelled" ? "notice" : "notice notice-error" },
          h("p", {}, h("strong", {}, headline), job.error_code !== job.status && h("code", { class: "tag" }, job.error_code)),
          h("pre", { class: "message" }, job.error_message),
        ),
    );
    showFacts();
    resultSection.hidden = job.result === null || job.result === undefined;
    patch(result, jobResult(job.result));
    const given = job.params && Object.keys(job.params).length > 0;
    patch(parameters, given ? h("pre", { class: "code", tabindex: "0" }, prettyJson(job.params)) : h("p", { class: "muted" }, "None."));
  }

  function showFacts() {
    const targets = job.targets ?? [];
    patch(
      facts,
      fact("Status", [statusBadge(job.status), job.dry_run && h("span", { class: "tag" }, "dry run"), cancelling() && h("span", { class: "tag" }, "cancelling")]),
      job.batch && fact("Devices", batchCounts(job.batch.counts)),
      job.waiting_for?.length > 0 && fact("Waits for", `${job.waiting_for.join(", ")} (in use by other jobs)`),
      job.held_back_by && fact("Paused by", heldBackBy(job.held_back_by)),
      job.held && fact("Waits for", "its batch"),
      job.progress && !isFinished(job.status) && fact("Progress", progressBar(job.progress)),
      job.description && fact("Description", job.description),
      fact("Targets", targets.length === 0 ? "None" : targets.map((name, index) => [index > 0 ? ", " : "", h("a", { href: href("", { target: name }) }, name)])),
      fact("Created", fullTime(job.created_at)),
      job.scheduled_for && fact("Scheduled for", fullTime(job.scheduled_for)),
      fact(job.attempt > 1 ? `Started attempt ${count(job.attempt)}` : "Started", job.started_at ? fullTime(job.started_at) : "Not yet"),
      job.completed_at && fact("Finished", fullTime(job.completed_at)),
      job.started_at && fact("Duration", jobDuration(job)),
      job.next_attempt_at && !isFinished(job.status) && fact("Next attempt", fullTime(job.next_attempt_at)),
      job.max_retries > 0 && fact("Retries", `${count(job.retry_count)} of ${count(job.max_retries)}`),
      job.timeout_seconds && fact("Timeout", `${count(job.timeout_seconds)} s per attempt`),
      Boolean(job.priority) && fact("Priority", job.priority),
      job.worker_id && fact("Worker", h("code", {}, job.worker_id)),
      job.rerun_of && fact("Rerun of", h("a", { href: jobHref(job.rerun_of) }, h("code", {}, job.rerun_of))),
      job.parent_id && fact("Child of", h("a", { href: jobHref(job.parent_id) }, h("code", {}, job.parent_id))),
      job.plugin_digest && fact("Plugin digest", h("code", {}, job.plugin_digest)),
    );
  }

  function showChildren(jobs, more) {
    childrenFinished = jobs.every(({ status }) => isFinished(status));
    childrenSection.hidden = jobs.length === 0;
    children.update(jobs);
    const tally = STATUSES.map((status) => [status, jobs.filter((child) => child.status === status).length])
      .filter(([, number]) => number > 0)
      .map(([status, number]) => `${count(number)} ${status}`);
    setText(childrenNote, `${more ? "Of the newest" : "Of"} ${plural(jobs.length, "child job")}: ${tally.join(", ")}.`);
  }

  function createActions() {
    const cancel = h("button", { type: "button", class: "button", onClick: cancelJob }, "Cancel job");
    const again = h("a", { class: "button", href: href("new", { from: id }) }, "Submit again…");
    const failed = h("button", { type: "button", class: "button", onClick: () => rerun("failed") }, "Rerun failed");
    const unfinished = h("button", { type: "button", class: "button", onClick: () => rerun("unfinished") }, "Rerun unfinished");
    const remove = h("button", { type: "button", class: "button button-danger-quiet", onClick: deleteJob, "aria-describedby": "delete-reason" }, "Delete…");
    const reason = h("span", { class: "muted", id: "delete-reason" });
    const problem = h("div", { class: "action-problem" });

    return {
      element: h("div", { class: "actions" }, h("div", { class: "actions-row" }, cancel, again, failed, unfinished, remove, reason), problem),
      problem,
      update() {
        const finished = isFinished(job.status);
        if (finished && document.activeElement === cancel) again.focus();
        cancel.hidden = finished;
        const left = finished && job.batch ? job.batch.counts : null;
        failed.hidden = !(left?.failed > 0);
        unfinished.hidden = !left || left.completed === left.total;
        // Not `disabled`, which would remove the focus.
        cancel.setAttribute("aria-disabled", String(cancelling()));
        setText(cancel, cancelling() ? "Cancelling…" : "Cancel job");
        remove.disabled = job.status === "running";
        setText(reason, remove.disabled ? "A running job cannot be deleted; cancel it first." : "");
      },
    };
  }

  function cancelling() {
    return !isFinished(job.status) && (cancelAsked || job.cancel_requested);
  }

  async function cancelJob() {
    if (cancelling()) return;
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
      actions.update();
      flash("Cancellation requested. Commands already sent to a device are not undone.");
    }
    await refresher.refresh();
  }

  async function rerun(only) {
    const { counts } = job.batch;
    const devices = only === "failed" ? counts.failed : counts.total - counts.completed;
    let newId = null;
    const submitted = await confirmDialog({
      title: only === "failed" ? "Rerun the failed devices?" : "Rerun the unfinished devices?",
      body: h("p", {}, "A new job of plugin ", h("strong", {}, job.plugin), " is submitted for the ", h("strong", {}, plural(devices, "device")), only === "failed" ? " on which this job failed." : " on which this job did not complete."),
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
        h("p", {}, "The job ", h("strong", {}, job.plugin), " on ", targetsOf(job), ", with its results, its log and ", job.batch ? `its ${plural(job.batch.counts.total, "child job")}` : "its child jobs", ". This cannot be undone."),
        h("p", {}, h("code", {}, id)),
      ],
      confirm: "Delete job",
      confirming: "Deleting…",
      action: () => api.deleteJob(id),
      signal,
    });
    if (signal.aborted) return;
    if (!deleted) {
      refresher.refresh();
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
      h("p", {}, "The batch of ", h("strong", {}, job.plugin), " for ", h("strong", {}, plural(job.batch.counts.total, "device")), " is cancelled:"),
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
    h("p", {}, "Commands already sent to a device are not undone, so a change may remain incomplete."),
  ];
}

/** `3 completed, 1 failed, 6 not started of 10` */
function batchCounts({ total, ...counts }) {
  const said = Object.entries(counts).filter(([, number]) => number > 0);
  return `${said.map(([what, number]) => `${count(number)} ${what.replace("_", " ")}`).join(", ")} of ${count(total)}`;
}

function heldBackBy({ pause, reason, until }) {
  return [h("code", {}, pause), reason && `: ${reason}`, until ? [" until ", fullTime(until)] : " until it is removed"];
}

/** JSON, except for texts of several lines, such as a diff, which are shown as text. */
function jobResult(value) {
  if (typeof value === "string") return h("pre", { class: "code", tabindex: "0" }, value);
  const isText = (part) => typeof part === "string" && part.includes("\n");
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  const texts = isObject ? Object.entries(value).filter(([, part]) => isText(part)) : [];
  const rest = texts.length > 0 ? Object.fromEntries(Object.entries(value).filter(([, part]) => !isText(part))) : value;
  return h(
    "div",
    { class: "result-parts" },
    texts.length > 0 && Object.keys(rest).length === 0 ? null : h("pre", { class: "code", tabindex: "0" }, prettyJson(rest ?? null)),
    texts.map(([name, text]) => [h("h3", {}, name), h("pre", { class: "code", tabindex: "0" }, text)]),
  );
}

function section(title, ...children) {
  return h("section", { class: "section" }, h("h2", {}, title), children);
}

function fact(name, value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}
