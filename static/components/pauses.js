// The active pauses, with buttons to end them, and a button that pauses all jobs. Each button asks
// for confirmation.

import { may } from "../account.js";
import { api } from "../api.js";
import { button, h, patch } from "../dom.js";
import { count, plural } from "../format.js";
import { confirmDialog, focusAgain } from "./dialog.js";
import { showError } from "./refresher.js";
import { fullTime, relativeTime } from "./time.js";

/** The pause that the dashboard creates. */
const OWN = { name: "dashboard", reason: "paused on the dashboard" };

/** @param {PausesOptions} options */
export function createPauses({ changed, signal }) {
  const notices = h("div", { class: "notices" });
  const problem = h("div", { role: "alert" });
  const pauseAll = button(
    { class: "button button-quiet", hidden: true, onClick: askToPause },
    "Pause all jobs",
  );
  /** @type {Pause[]} */
  let inForce = [];
  let asking = false;

  return {
    element: h("div", {}, problem, notices),
    pauseAll,
    /** @param {AbortSignal} signal */
    async load(signal) {
      const { pauses } = await api.listPauses({ signal });
      const focused = document.activeElement;
      inForce = pauses.filter((pause) => pause.in_force);
      patch(notices, inForce.map(notice));
      pauseAll.hidden =
        !may("pauses.write") ||
        inForce.some((pause) => pause.plugins.length === 0 && !pause.targets);
      // The button with the focus may have been removed with its pause.
      if (focused !== document.body) focusAgain(focused);
    },
  };

  /** @param {Pause} pause */
  function notice({ id, name, reason, plugins, targets, action, until, windows }) {
    return h(
      "div",
      { class: "notice notice-warning" },
      h(
        "p",
        {},
        h("strong", {}, action === "skip" ? "Skipped" : "Paused"),
        `: ${coveredBy({ plugins, targets })}, by `,
        h("code", {}, name),
        reason && `: ${reason}`,
        until ? [windows ? ". This window ends " : ". Ends ", relativeTime(until)] : ".",
      ),
      may("pauses.write") &&
        h(
          "div",
          { class: "actions-row" },
          button(
            {
              "data-pause": id,
              "aria-label": `End pause ${name}`,
              onClick: askToEnd,
            },
            "End pause",
          ),
          button(
            {
              class: "button button-danger-quiet",
              "data-pause": id,
              "aria-label": `Delete pause ${name}`,
              onClick: askToDelete,
            },
            "Delete pause…",
          ),
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
      showError(problem, error);
    } finally {
      asking = false;
    }
  }

  /** @param {StatusCounts} stats */
  function askWith(stats) {
    const waiting = stats.pending + stats.retrying;
    return ask({
      title: "Pause all jobs?",
      body: [
        h(
          "p",
          {},
          "No job starts on any device until the pause ",
          h("code", {}, OWN.name),
          " ends.",
        ),
        h(
          "ul",
          {},
          h("li", {}, `${plural(waiting, "waiting job")} and new jobs do not start.`),
          h("li", {}, `${plural(stats.running, "running job")} will run to the end.`),
        ),
      ],
      confirm: "Pause all jobs",
      confirming: "Pausing…",
      dismiss: "Do not pause",
      action: pauseEverything,
    });
  }

  /** @param {ButtonClick} event */
  function askToEnd(event) {
    const pause = pauseOf(event);
    if (!pause) return;
    const next = pause.next_starts[0];
    return ask({
      title: `End pause ${pause.name} now?`,
      body: [
        h("p", {}, released(pause)),
        pause.windows
          ? h(
              "p",
              {},
              "Only the current window ends.",
              next
                ? [" The next window starts ", fullTime(next), "."]
                : " There are no more windows.",
            )
          : h("p", {}, "The pause stays in the list until it is deleted."),
      ],
      confirm: "End pause",
      confirming: "Ending…",
      dismiss: "Keep the pause",
      action: () => api.endPause(pause.id),
    });
  }

  /** @param {ButtonClick} event */
  function askToDelete(event) {
    const pause = pauseOf(event);
    if (!pause) return;
    const { windows } = pause;
    return ask({
      title: `Delete pause ${pause.name}?`,
      body: [
        h("p", {}, released(pause)),
        windows
          ? h(
              "p",
              {},
              "Its windows are deleted as well: ",
              h("code", {}, windows.cron_expression),
              ` (${windows.timezone}), ${count(windows.minutes)} min each. This cannot be undone.`,
            )
          : h("p", {}, "This cannot be undone."),
      ],
      confirm: "Delete pause",
      confirming: "Deleting…",
      action: () => api.deletePause(pause.id),
    });
  }

  /** @param {ButtonClick} event */
  function pauseOf(event) {
    const { pause: id } = event.currentTarget.dataset;
    return inForce.find((pause) => pause.id === id);
  }

  /** @param {Omit<Question, "signal">} question */
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

/** @param {Pick<Pause, "plugins" | "targets">} pause */
function coveredBy({ plugins, targets }) {
  const limits = [
    plugins.length > 0 && `of ${plugins.join(", ")}`,
    targets && `on ${targets}`,
  ].filter(Boolean);
  return limits.length > 0 ? `jobs ${limits.join(" ")}` : "all jobs";
}

/** Describes the jobs that start when a pause ends. @param {Pause} pause */
function released(pause) {
  const held = pause.held_jobs ?? 0;
  if (held === 0) return `It pauses ${coveredBy(pause)}. No jobs are waiting for its end.`;
  return `It pauses ${coveredBy(pause)}. ${plural(held, "paused job")} will start now, except where another pause applies.`;
}
