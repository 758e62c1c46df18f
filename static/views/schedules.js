// The schedules: plugin, next time, and last result.

import { may } from "../account.js";
import { api } from "../api.js";
import { button, h, patch } from "../dom.js";
import { andMore, plural } from "../format.js";
import { jobHref } from "../router.js";
import { confirmDialog } from "../components/dialog.js";
import { createRefresher, emptyBox, listView, showError } from "../components/refresher.js";
import { createPages, createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 10_000;
const PAGE_SIZE = 100;
const TARGETS_SHOWN = 3;

/** @type {Column<Schedule>[]} */
const COLUMNS = [
  {
    label: "Name",
    render: ({ name, description, owner }) => [
      h("span", { title: description ?? "" }, name),
      owner && h("div", { class: "job-note" }, `Owner: ${owner}`),
    ],
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
      job && [" ", h("a", { class: "job-link", href: jobHref(job) }, "job")],
    ],
  },
];

/** @type {CreateView} */
export function schedulesView({ query, signal, flash }) {
  let cursor = query.get("cursor") ?? "";
  /** @type {Schedule[]} */
  let shown = [];
  const mayAct = may("schedules.trigger") || may("schedules.write");
  const table = createTable({
    caption: "Schedules",
    columns: mayAct ? [...COLUMNS, { label: "Actions", render: actions }] : COLUMNS,
    keyOf: ({ id }) => id,
  });
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

  const note =
    may("schedules.write") &&
    h(
      "p",
      { class: "view-note muted" },
      "To add one, use ",
      h("code", {}, "scheduler schedule add"),
      " or ",
      h("code", {}, "POST /api/schedules"),
      ".",
    );
  return {
    ...listView("Schedules", refresher, note),
    update(newQuery) {
      cursor = newQuery.get("cursor") ?? "";
      refresher.reset();
    },
  };

  /** @param {Schedule} schedule */
  function actions({ id, name, enabled }) {
    const change = () => (enabled ? api.disableSchedule(id) : api.enableSchedule(id));
    return [
      may("schedules.trigger") &&
        button(
          {
            "data-schedule": id,
            "aria-label": `Trigger ${name}`,
            onClick: askToTrigger,
          },
          "Trigger",
        ),
      " ",
      may("schedules.write") &&
        button(
          {
            "aria-label": `${enabled ? "Disable" : "Enable"} ${name}`,
            onClick: ({ currentTarget }) => act(currentTarget, change),
          },
          enabled ? "Disable" : "Enable",
        ),
    ];
  }

  /** @param {ButtonClick} event */
  async function askToTrigger(event) {
    const id = event.currentTarget.dataset.schedule;
    const schedule = shown.find((one) => one.id === id);
    if (!schedule) return;
    patch(problem);
    const triggered = await confirmDialog({
      title: `Trigger ${schedule.name} now?`,
      body: triggerConsequences(schedule),
      confirm: "Trigger",
      confirming: "Triggering…",
      dismiss: "Do not trigger",
      action: () => api.triggerSchedule(schedule.id),
      signal,
    });
    if (signal.aborted) return;
    if (triggered) flash(`A job of ${schedule.name} was submitted.`);
    refresher.refresh();
  }

  /** @param {HTMLButtonElement} pressed @param {() => Promise<unknown>} action */
  async function act(pressed, action) {
    pressed.disabled = true;
    patch(problem);
    try {
      await action();
    } catch (error) {
      showError(problem, error);
    } finally {
      pressed.disabled = false;
    }
    refresher.refresh();
  }

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const page = await api.listSchedules({ cursor, limit: PAGE_SIZE }, { signal: turnSignal });
    const { schedules } = page;
    shown = schedules;
    table.update(schedules);
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

/** @param {Schedule} schedule */
function triggerConsequences({ plugin, targets, target_count: total, enabled }) {
  return [
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
  ];
}
