// The active pauses, with buttons to end them, and a button that pauses all jobs. Each button asks
// for confirmation.

import { api } from "../api.js";
import { h, patch } from "../dom.js";
import { count, plural } from "../format.js";
import { confirmDialog, focusAgain } from "./dialog.js";
import { fullTime, relativeTime } from "./time.js";

/** The pause that the dashboard creates. */
const OWN = { name: "dashboard", reason: "paused on the dashboard" };

/** `changed()` is called when a pause was created or has ended. */
export function createPauses({ changed, signal }) {
  const notices = h("div", { class: "notices" });
  const problem = h("div", { role: "alert" });
  const pauseAll = h("button", { type: "button", class: "button button-quiet", hidden: true, onClick: askToPause }, "Pause all jobs");
  let inForce = [];
  let asking = false;

  return {
    element: h("div", {}, problem, notices),
    pauseAll,
    async load(signal) {
      const { pauses } = await api.listPauses({ signal });
      const focused = document.activeElement;
      inForce = pauses.filter((pause) => pause.in_force);
      patch(notices, inForce.map(notice));
      pauseAll.hidden = inForce.some((pause) => pause.plugins.length === 0 && !pause.targets);
      // The button with the focus may have been removed with its pause.
      if (focused !== document.body) focusAgain(focused);
    },
  };

  function notice({ id, name, reason, plugins, targets, action, until, windows }) {
    return h(
      "div",
      { class: "notice notice-warning" },
      h(
        "p",
        {},
        h("strong", {}, action === "skip" ? "Left out" : "Paused"),
        `: ${coveredBy({ plugins, targets })}, by `,
        h("code", {}, name),
        reason && `: ${reason}`,
        until ? [windows ? ". This window ends " : ". Ends ", relativeTime(until)] : ".",
      ),
      h(
        "div",
        { class: "actions-row" },
        h("button", { type: "button", class: "button", "data-pause": id, "aria-label": `End the pause ${name}`, onClick: askToEnd }, "End the pause"),
        h("button", { type: "button", class: "button button-danger-quiet", "data-pause": id, "aria-label": `Delete the pause ${name}`, onClick: askToDelete }, "Delete the pause…"),
      ),
    );
  }

  async function askToPause() {
    if (asking) return;
    asking = true;
    patch(problem);
    try {
      await askWith((await api.jobStats({ signal })).by_status);
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      if (error.kind !== "aborted") patch(problem, h("p", { class: "notice notice-error" }, error.message));
    } finally {
      asking = false;
    }
  }

  function askWith(stats) {
    const waiting = stats.pending + stats.retrying;
    return ask({
      title: "Pause all jobs?",
      body: [
        h("p", {}, "No job of any plugin starts on any device until the pause ", h("code", {}, OWN.name), " is ended."),
        h(
          "ul",
          {},
          h("li", {}, `${plural(waiting, "job")} that ${waiting === 1 ? "waits does" : "wait do"} not start, and neither do jobs submitted later.`),
          h("li", {}, `${plural(stats.running, "job")} that ${stats.running === 1 ? "runs continues" : "run continue"} to the end.`),
        ),
      ],
      confirm: "Pause all jobs",
      confirming: "Pausing…",
      dismiss: "Do not pause",
      action: pauseEverything,
    });
  }

  function askToEnd(event) {
    const pause = pauseOf(event);
    const next = pause.next_starts[0];
    return ask({
      title: `End the pause ${pause.name} now?`,
      body: [
        h("p", {}, released(pause)),
        pause.windows
          ? h("p", {}, "Only the present window ends. Its definition stays", next ? [": it comes into force again ", fullTime(next), "."] : "; it has no further window.")
          : h("p", {}, "The pause is over. It stays in the list of pauses until it is deleted."),
      ],
      confirm: "End the pause",
      confirming: "Ending…",
      dismiss: "Keep pausing",
      action: () => api.endPause(pause.id),
    });
  }

  function askToDelete(event) {
    const pause = pauseOf(event);
    const { windows } = pause;
    return ask({
      title: `Delete the pause ${pause.name}?`,
      body: [
        h("p", {}, released(pause)),
        windows
          ? h("p", {}, "The definition of its windows is deleted, too: ", h("code", {}, windows.cron_expression), ` (${windows.timezone}), ${count(windows.minutes)} min each. No later window holds jobs back.`)
          : h("p", {}, "Its definition is deleted. This cannot be undone."),
      ],
      confirm: "Delete the pause",
      confirming: "Deleting…",
      action: () => api.deletePause(pause.id),
    });
  }

  function pauseOf(event) {
    const { pause: id } = event.currentTarget.dataset;
    return inForce.find((pause) => pause.id === id);
  }

  async function ask(question) {
    patch(problem);
    await confirmDialog({ ...question, signal });
    if (!signal.aborted) changed();
  }
}

/** Reuses the dashboard's pause if an earlier one is over. */
async function pauseEverything() {
  const { pauses } = await api.listPauses();
  const old = pauses.find(({ name }) => name === OWN.name);
  const isOver = old && !old.in_force && old.next_starts.length === 0;
  return isOver ? api.replacePause(old.id, OWN) : api.createPause(OWN);
}

function coveredBy({ plugins, targets }) {
  const limits = [plugins.length > 0 && `of ${plugins.join(", ")}`, targets && `on ${targets}`].filter(Boolean);
  return limits.length > 0 ? `jobs ${limits.join(" ")}` : "all jobs";
}

/** Describes the jobs that start when a pause ends. */
function released(pause) {
  const held = pause.held_jobs;
  if (held === 0) return `It holds back ${coveredBy(pause)}; no job waits for it now.`;
  return `It holds back ${coveredBy(pause)}. ${plural(held, "job")} that ${held === 1 ? "waits for it starts" : "wait for it start"} now, unless another pause holds ${held === 1 ? "it" : "them"} back.`;
}
