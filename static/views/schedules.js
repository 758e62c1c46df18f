// The schedules: what is submitted again and again, when next, and what came of it last.

import { api } from "../api.js";
import { h, patch } from "../dom.js";
import { plural } from "../format.js";
import { href } from "../router.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 10_000;

export function schedulesView({ signal, flash }) {
  const columns = [
    { label: "Name", render: ({ name, description }) => h("span", { title: description ?? "" }, name), header: true },
    { label: "On", render: ({ enabled }) => (enabled ? "On" : "Off") },
    { label: "Plugin", render: ({ plugin }) => plugin },
    { label: "Targets", render: ({ targets }) => targets.join(", ") || "–" },
    { label: "When", render: ({ cron_expression: cron, words }) => h("code", { title: words ?? "" }, cron) },
    { label: "Time zone", render: ({ timezone }) => timezone },
    { label: "Next run", render: ({ next_run_at: at }) => relativeTime(at) },
    { label: "Last outcome", render: ({ last_outcome: outcome, last_job_id: job }) => [outcome ?? "–", job && [" ", h("a", { class: "job-link", href: href(`jobs/${job}`) }, "job")]] },
    { label: "Actions", render: actions },
  ];
  const table = createTable({ caption: "Schedules", columns, keyOf: ({ id }) => id });
  const problem = h("div", { role: "alert" });
  const empty = h("div");
  const content = h("div", {}, problem, table.element, empty);
  const refresher = createRefresher({ what: "the schedules", content, load, pause: () => REFRESH_MS, signal });

  return {
    title: "Schedules",
    element: h(
      "div",
      {},
      h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Schedules"), refresher.controls),
      h("p", { class: "view-note muted" }, "To add one, use ", h("code", {}, "scheduler schedule add"), " or ", h("code", {}, "POST /api/schedules"), "."),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
  };

  function actions({ id, name, enabled }) {
    const trigger = async () => {
      await api.triggerSchedule(id);
      flash(`A job of ${name} is submitted.`);
    };
    const change = () => (enabled ? api.disableSchedule(id) : api.enableSchedule(id));
    return [
      h("button", { type: "button", class: "button", "aria-label": `Trigger ${name}`, onClick: (event) => act(event, trigger) }, "Trigger"),
      " ",
      h("button", { type: "button", class: "button", "aria-label": `${enabled ? "Disable" : "Enable"} ${name}`, onClick: (event) => act(event, change) }, enabled ? "Disable" : "Enable"),
    ];
  }

  async function act(event, action) {
    const button = event.currentTarget;
    button.disabled = true;
    patch(problem);
    try {
      await action();
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      patch(problem, h("p", { class: "notice notice-error" }, error.message));
    } finally {
      button.disabled = false;
    }
    refresher.refresh();
  }

  async function load(turnSignal) {
    const { schedules } = await api.listSchedules({ signal: turnSignal });
    table.update(schedules);
    table.element.hidden = schedules.length === 0;
    patch(empty, schedules.length === 0 && emptyBox("No schedules yet.", h("p", {}, "A schedule submits a job again and again.")));
    return `${plural(schedules.length, "schedule")}.`;
  }
}
