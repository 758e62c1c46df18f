// The devices' replies: one group per target, one entry per command, in the order of execution. A
// stored result never changes, so each entry is built once and stays open or closed as the reader
// left it. Running commands follow, with their output so far.

import { button, h, patch, reconcile, setText } from "../dom.js";
import { bytes, duration, plural } from "../format.js";
import { isFinished } from "./job.js";
import { elapsed, fullTime } from "./time.js";

/** Maximum number of entries that start open; more would overwhelm the reader and the browser. */
const OPEN_AT_MOST = 20;
/** Longer output is shortened on screen, with a button for the rest. */
const SHOWN_CHARACTERS = 200_000;

/** Returns `{ element, update(results, running, job, hasMore) }`. */
export function createResultList() {
  const note = h("p", { class: "muted" });
  const groups = h("div", { class: "result-groups" });
  const live = h("div", { class: "result-groups" });
  const wrap = h("input", {
    type: "checkbox",
    id: "wrap-output",
    onChange: wrapLines,
  });
  const tools = h(
    "div",
    { class: "section-tools" },
    h("label", { class: "check", for: wrap.id }, wrap, h("span", {}, "Wrap long lines")),
  );
  let openBudget = OPEN_AT_MOST;

  return {
    element: h("div", {}, tools, note, groups, live),
    /**
     * @param {Result[]} results
     * @param {RunningCommand[]} running
     * @param {Job} job
     * @param {boolean} hasMore
     */
    update(results, running, job, hasMore) {
      tools.hidden = results.length + running.length === 0;
      const cut = hasMore
        ? `The first ${plural(results.length, "result")} of the job. \`scheduler job results ${job.id}\` prints all of them.`
        : "";
      setText(note, tools.hidden ? emptyText(job) : cut);
      patch(live, running.map(runningCommand));
      reconcile(groups, groupByTarget(results), {
        keyOf: ({ target }) => target,
        create: createGroup,
        update: updateGroup,
      });
    },
  };

  function wrapLines() {
    for (const element of [groups, live]) element.classList.toggle("wrap-output", wrap.checked);
  }

  /** @param {Result} result */
  function createEntry(result) {
    const open = openBudget > 0 || isFailure(result);
    openBudget -= 1;
    return createResult(result, open);
  }

  /** @param {ResultGroup} group */
  function createGroup({ target }) {
    return h(
      "section",
      { class: "result-group" },
      h("h3", {}, target || "No target", " ", h("span", { class: "muted" })),
      h("ol", { class: "result-entries" }),
    );
  }

  /** @param {HTMLElement} element @param {ResultGroup} group */
  function updateGroup(element, { results }) {
    const [title, entries] = element.children;
    const failed = results.filter(isFailure).length;
    const time = results.reduce((sum, { duration_ms: ms }) => sum + ms, 0);
    const remarks = [
      plural(results.length, "command"),
      failed > 0 && `${failed} failed`,
      duration(time),
    ];
    setText(title.children[0], remarks.filter(Boolean).join(" · "));
    reconcile(entries, results, { keyOf: ({ id }) => id, create: createEntry });
  }
}

/** @param {RunningCommand} running */
function runningCommand({ target, command, started_at: startedAt, output, cut }) {
  return h(
    "section",
    { class: "result result-running" },
    h(
      "h3",
      {},
      target,
      " ",
      h("code", { class: "command" }, command),
      h("span", { class: "result-facts" }, h("span", {}, "running for "), elapsed(startedAt)),
    ),
    cut && h("p", { class: "muted" }, "The output is longer; only its end is shown."),
    output
      ? h("pre", { class: "output", tabindex: "0" }, output)
      : h("p", { class: "muted" }, "No output yet."),
  );
}

/** @param {Result} result @param {boolean} open */
function createResult(result, open) {
  const failed = isFailure(result);
  const body = h("div", { class: "result-body" });
  const details = h(
    "details",
    { class: failed ? "result result-failed" : "result", open },
    h(
      "summary",
      {},
      result.kind === "answer" && h("span", { class: "muted" }, "answered "),
      h("code", { class: "command" }, result.command),
      h(
        "span",
        { class: "result-facts" },
        resultFacts(result, failed).map((text) => h("span", {}, text)),
      ),
    ),
    body,
  );
  // Filled when first opened: hundreds of long outputs would slow the page down needlessly.
  const fill = () => {
    if (!details.open || body.hasChildNodes()) return;
    patch(
      body,
      result.error && h("pre", { class: "message message-error" }, result.error),
      outputOf(result),
      result.truncated &&
        h("p", { class: "muted" }, "Truncated: the output exceeded the server's limit."),
      h("p", { class: "muted" }, fullTime(result.executed_at)),
    );
  };
  details.addEventListener("toggle", fill);
  fill();
  return h("li", {}, details);
}

/** @param {Result} result */
function outputOf({ output }) {
  if (!output) return h("p", { class: "muted" }, "No output.");
  const pre = h("pre", { class: "output", tabindex: "0" }, output.slice(0, SHOWN_CHARACTERS));
  if (output.length <= SHOWN_CHARACTERS) return pre;
  const all = button(
    { class: "button button-small", onClick: showAll },
    `Show all ${bytes(output.length)}`,
  );
  function showAll() {
    pre.textContent = output;
    pre.focus();
    all.remove();
  }
  return h("div", {}, pre, all);
}

/** @param {Result} result @param {boolean} failed */
function resultFacts({ exit_code: exitCode, duration_ms: ms, attempt, kind }, failed) {
  const facts = [failed ? "Failed" : "OK"];
  if (exitCode !== null && exitCode !== undefined) facts.push(`exit ${exitCode}`);
  facts.push(duration(ms));
  if (attempt > 1) facts.push(`attempt ${attempt}`);
  if (kind !== "exec") facts.push(kind);
  return facts;
}

/** @param {Result} result */
function isFailure({ error, exit_code: exitCode }) {
  return Boolean(error) || (exitCode !== null && exitCode !== undefined && exitCode !== 0);
}

/** @param {Result[]} results */
function groupByTarget(results) {
  /** @type {Map<string, ResultGroup>} */
  const groups = new Map();
  for (const result of results) {
    const { target } = result;
    const group = groups.get(target) ?? { target, results: [] };
    group.results.push(result);
    groups.set(target, group);
  }
  return [...groups.values()];
}

/** @param {Job} job */
function emptyText(job) {
  if (isFinished(job.status)) return "This job sent no command to a device.";
  return job.started_at ? "No command has completed yet." : "The job has not started yet.";
}
