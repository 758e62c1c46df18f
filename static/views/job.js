// One job: parameters, status, replies of the devices, log; cancel, submit again, delete. Follows
// the job by its events until it and its child jobs have finished. Without events, it polls every 2
// s, and less often while the job waits for a distant time.

import { may } from "../account.js";
import { api, serverNow } from "../api.js";
import { h, patch } from "../dom.js";
import { prettyJson } from "../format.js";
import { href } from "../router.js";
import { isFinished, nextTurn, statusLabel } from "../components/job.js";
import { createLogList } from "../components/log-list.js";
import { pluginName } from "../components/plugin.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createResultList } from "../components/result-list.js";
import { createActions } from "./job/actions.js";
import { createChildren } from "./job/children.js";
import { createResults, followEvents } from "./job/data.js";
import { jobError, jobFacts, jobResult } from "./job/facts.js";

const FOLLOW_MS = 2_000;
/** The poll interval while events arrive; child jobs have events of their own. */
const EVENTS_MS = 10_000;
const WAIT_MS = 30_000;
const CHILDREN_SHOWN = 100;

/** @type {CreateView} */
export function jobView({ params: { id }, signal, setTitle, flash }) {
  /** @type {Job?} */
  let job = null;
  // The texts of devices have a permission of their own.
  const showsOutputs = may("jobs.outputs");
  let logComplete = !showsOutputs;
  /** @type {EventSource | null} */
  let events = null;

  const heading = h("h1", { tabindex: "-1" }, "Job");
  const actions = createActions({
    id,
    signal,
    flash,
    refresh: () => refresher.refresh(),
  });
  const facts = h("dl", { class: "facts" });
  const failure = h("div");
  const result = h("div");
  const parameters = h("div");
  const results = createResults(id);
  const resultList = createResultList();
  const logs = createLogList({
    jobId: id,
    changed: () => refresher.update(),
    signal,
  });
  const children = createChildren();
  const resultSection = section("Result", result);

  const content = h(
    "div",
    {},
    actions.element,
    failure,
    facts,
    resultSection,
    section("Commands and output", showsOutputs ? resultList.element : outputsHidden()),
    children.element,
    showsOutputs && section("Log", logs.element),
    section("Parameters", parameters),
  );
  const refresher = createRefresher({
    what: "the job",
    content,
    load,
    pause,
    signal,
    missing: () =>
      emptyBox(
        "Job not found.",
        h("p", {}, "It may have been deleted. ", h("a", { href: href() }, "Go to the jobs")),
      ),
  });

  return {
    title: "Job",
    element: h(
      "div",
      {},
      h(
        "nav",
        { class: "crumbs", "aria-label": "Breadcrumbs" },
        h("a", { href: href() }, "Jobs"),
        " / ",
        h("code", {}, id),
      ),
      h("div", { class: "view-head" }, heading, refresher.controls),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
  };

  function pause() {
    if (!job || !logComplete) return FOLLOW_MS;
    // Child jobs continue after their parent has ended.
    if (isFinished(job.status)) return children.isFinished() ? null : FOLLOW_MS;
    const next = nextTurn(job);
    if (next && Date.parse(next) - serverNow() > 2 * WAIT_MS) return WAIT_MS;
    return events?.readyState === EventSource.OPEN && children.isFinished() ? EVENTS_MS : FOLLOW_MS;
  }

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const options = { signal: turnSignal };
    // Loads the job first: if it has finished, the following requests are complete, and the last
    // ones.
    const now = await api.job(id, options);
    // Events only trigger updates, so a finished job needs none.
    if (showsOutputs && !isFinished(now.status))
      events ??= followEvents(id, () => refresher.update(), signal);
    const [resultsAnswer, childrenAnswer] = await Promise.all([
      showsOutputs ? results.load(options) : null,
      api.listJobs({ parent: id, limit: CHILDREN_SHOWN }, options),
      showsOutputs && loadLogs(options),
    ]);
    if (turnSignal.aborted) return undefined;
    if (job && !isFinished(job.status) && isFinished(now.status))
      flash(`The job is ${now.status}.`);
    job = now;
    showJob(now);
    if (resultsAnswer) {
      const { running = [], next_after: next } = resultsAnswer;
      resultList.update(results.stored, running, now, Boolean(next));
      logs.settle(now);
    }
    // Filtered here as well, so that a server without the filter cannot make every job a child.
    children.update(
      childrenAnswer.jobs.filter((child) => child.parent_id === id),
      Boolean(childrenAnswer.next_cursor),
    );
    return `The job is ${now.status}.`;
  }

  /** @param {RequestOptions} options */
  async function loadLogs(options) {
    logComplete = false;
    logComplete = await logs.load(options);
  }

  /** @param {Job} now */
  function showJob(now) {
    setTitle(`${statusLabel(now.status)}: ${now.plugin}`);
    patch(heading, pluginName(now.plugin, now.plugin_digest));
    actions.update(now);
    patch(failure, jobError(now));
    patch(facts, jobFacts(now, actions.isCancelling()));
    resultSection.hidden = now.result === null || now.result === undefined;
    patch(result, jobResult(now.result));
    patch(
      parameters,
      Object.keys(now.params ?? {}).length > 0
        ? h("pre", { class: "code", tabindex: "0" }, prettyJson(now.params))
        : h("p", { class: "muted" }, "None."),
    );
  }
}

function outputsHidden() {
  return h(
    "p",
    { class: "muted outputs-hidden" },
    "Results, output, log and error messages are not shown, because you do not have the permission ",
    h("code", {}, "jobs.outputs"),
    ".",
  );
}

/** @param {string} title @param {...Child} children */
function section(title, ...children) {
  return h("section", { class: "section" }, h("h2", {}, title), children);
}
