// What holds jobs back now, with a way to end it, and a button that holds everything back.

import { api } from "../api.js";
import { h, patch } from "../dom.js";
import { relativeTime } from "./time.js";

/** The pause that the dashboard itself makes. */
const OWN_NAME = "dashboard";

/** `changed()` is called when a pause has come or gone. */
export function createPauses({ changed }) {
  const notices = h("div", { class: "notices" });
  const problem = h("div", { role: "alert" });
  const pauseAll = h("button", { type: "button", class: "button button-quiet", hidden: true, onClick: (event) => act(event, makePause) }, "Pause all jobs");

  return {
    element: h("div", {}, problem, notices),
    pauseAll,
    async load(signal) {
      const { pauses } = await api.listPauses({ signal });
      const inForce = pauses.filter((pause) => pause.in_force);
      patch(notices, inForce.map(notice));
      pauseAll.hidden = inForce.some((pause) => pause.plugins.length === 0 && !pause.targets);
    },
  };

  function notice({ name, reason, plugins, targets, action, until }) {
    const what = [plugins.length > 0 && `of ${plugins.join(", ")}`, targets && `on ${targets}`].filter(Boolean).join(" ");
    return h(
      "div",
      { class: "notice notice-warning" },
      h(
        "p",
        {},
        h("strong", {}, action === "skip" ? "Left out" : "Paused"),
        `: ${what ? `jobs ${what}` : "all jobs"}, by `,
        h("code", {}, name),
        reason && `: ${reason}`,
        until ? [". Ends ", relativeTime(until)] : ".",
      ),
      h("button", { type: "button", class: "button", "data-pause": name, "aria-label": `End the pause ${name}`, onClick: (event) => act(event, endPause) }, "End the pause"),
    );
  }

  function makePause() {
    return api.createPause({ name: OWN_NAME, reason: "paused on the dashboard" });
  }

  function endPause(button) {
    return api.deletePause(button.dataset.pause);
  }

  async function act(event, action) {
    const button = event.currentTarget;
    button.disabled = true;
    patch(problem);
    try {
      await action(button);
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      patch(problem, h("p", { class: "notice notice-error" }, error.message));
    } finally {
      button.disabled = false;
    }
    changed();
  }
}
