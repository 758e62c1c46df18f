// The schedules: plugin, next time, and last result.

import { api } from "../api.js";
import { h, patch } from "../dom.js";
import { andMore, plural } from "../format.js";
import { href } from "../router.js";
import { confirmDialog } from "../components/dialog.js";
import { createPages } from "../components/pages.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 10_000;
const PAGE_SIZE = 100;
const TARGETS_SHOWN = 3;

export function schedulesView({ query, signal, flash }) {
  let cursor = query.get("cursor") ?? "";
  let shown = [];
  const columns = [
    {
      label: "Name",
      render: ({ name, description }) => h("span", { title: description ?? "" }, name),
      header: true,
    },
    { label: "Enabled", render: ({ enabled }) => (enabled ? "On" : "Off") },
    { label: "Plugin", render: ({ plugin }) => plugin },
    {
      label: "Targets",
      render: ({ targets, target_count: total }) => andMore(targets, TARGETS_SHOWN, total) || "–",
    },
    {
      label: "When",
      render: ({ cron_expression: cron, words }) => h("code", { title: words ?? "" }, cron),
    },
    { label: "Time zone", render: ({ timezone }) => timezone },
    { label: "Next run", render: ({ next_run_at: at }) => relativeTime(at) },
    {
      label: "Last outcome",
      render: ({ last_outcome: outcome, last_job_id: job }) => [
        outcome ?? "–",
        job && [" ", h("a", { class: "job-link", href: href(`jobs/${job}`) }, "job")],
      ],
    },
    { label: "Actions", render: actions },
  ];
  const table = createTable({ caption: "Schedules", columns, keyOf: ({ id }) => id });
  const problem = h("div", { role: "alert" });
  const empty = h("div");
  const pages = createPages("schedules");
  const content = h("div", {}, problem, table.element, empty, pages.element);
  const refresher = createRefresher({
    what: "the schedules",
    content,
    load,
    pause: () => REFRESH_MS,
    signal,
  });

  return {
    title: "Schedules",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Schedules"),
        refresher.controls,
      ),
      h(
        "p",
        { class: "view-note muted" },
        "To add one, use ",
        h("code", {}, "scheduler schedule add"),
        " or ",
        h("code", {}, "POST /api/schedules"),
        ".",
      ),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
    update(newQuery) {
      cursor = newQuery.get("cursor") ?? "";
      refresher.reset();
    },
  };

  function actions({ id, name, enabled }) {
    const change = () => (enabled ? api.disableSchedule(id) : api.enableSchedule(id));
    return [
      h(
        "button",
        {
          type: "button",
          class: "button",
          "data-schedule": id,
          "aria-label": `Trigger ${name}`,
          onClick: askToTrigger,
        },
        "Trigger",
      ),
      " ",
      h(
        "button",
        {
          type: "button",
          class: "button",
          "aria-label": `${enabled ? "Disable" : "Enable"} ${name}`,
          onClick: (event) => act(event, change),
        },
        enabled ? "Disable" : "Enable",
      ),
    ];
  }

  async function askToTrigger(event) {
    const { schedule: id } = event.currentTarget.dataset;
    const {
      name,
      plugin,
      targets,
      target_count: total,
      enabled,
    } = shown.find((schedule) => schedule.id === id);
    patch(problem);
    const triggered = await confirmDialog({
      title: `Trigger ${name} now?`,
      body: [
        h(
          "p",
          {},
          "A job of the plugin ",
          h("strong", {}, plugin),
          targets.length > 0
            ? [" is submitted now for ", h("strong", {}, andMore(targets, 10, total)), "."]
            : " is submitted now, without a target.",
        ),
        h(
          "p",
          {},
          "It runs even if another job of this schedule is running",
          enabled ? "" : " and although the schedule is disabled",
          ". The next runs do not change.",
        ),
      ],
      confirm: "Trigger",
      confirming: "Triggering…",
      dismiss: "Do not trigger",
      action: () => api.triggerSchedule(id),
      signal,
    });
    if (signal.aborted) return;
    if (triggered) flash(`A job of ${name} was submitted.`);
    refresher.refresh();
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
    const page = await api.listSchedules({ cursor, limit: PAGE_SIZE }, { signal: turnSignal });
    const { schedules } = page;
    shown = schedules;
    table.update(schedules);
    table.element.hidden = schedules.length === 0;
    pages.update(cursor, page.next_cursor);
    patch(
      empty,
      schedules.length === 0 &&
        !cursor &&
        emptyBox("No schedules yet.", h("p", {}, "A schedule submits a job at recurring times.")),
    );
    return `${plural(schedules.length, "schedule")}.`;
  }
}
