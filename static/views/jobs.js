// The job list: counts by status that filter, filters on plugin and target, keyset pages, and a
// refresh every 30 s that keeps the scroll position and the focus.
//
// The URL contains the filters and the page (`?status=&plugin=&target=&cursor=`), so a view can be
// shared and Back works. "Older" opens the next page instead of extending this one, so a refresh
// requests exactly what is shown.

import { may } from "../account.js";
import { api } from "../api.js";
import { h, patch, reconcile, setText, uniqueId } from "../dom.js";
import { andMore, count, plural, shorten, summary } from "../format.js";
import { href, jobHref, navigate } from "../router.js";
import {
  isFinished,
  jobDuration,
  progressBar,
  startedCell,
  statusBadge,
  STATUSES,
  statusLabel,
} from "../components/job.js";
import { createPauses } from "../components/pauses.js";
import { pluginName } from "../components/plugin.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 30_000;
const PAGE_SIZE = 50;
const TARGETS_SHOWN = 3;

/** @type {Column<Job>[]} */
const COLUMNS = [
  { label: "Status", render: statusCell, class: "col-status" },
  { label: "Job", render: jobCell, class: "col-job", header: true },
  { label: "Targets", render: targetsText, class: "col-targets" },
  {
    label: "Created",
    render: (job) => [
      relativeTime(job.created_at),
      job.submitted_by && h("div", { class: "job-note" }, `by ${job.submitted_by}`),
    ],
    class: "col-time",
  },
  { label: "Started", render: startedCell, class: "col-time" },
  { label: "Duration", render: jobDuration, class: "col-time" },
];

/** @type {CreateView} */
export function jobsView({ query, signal }) {
  let filters = readFilters(query);

  const counts = createCounts();
  const filterForm = createFilterForm(signal);
  const table = createTable({
    caption: "Jobs, newest first",
    columns: COLUMNS,
    keyOf: (job) => job.id,
  });
  const empty = h("div");
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });
  const pauses = createPauses({ changed: () => refresher.refresh(), signal });
  const content = h("div", {}, table.element, empty, pages);

  const refresher = createRefresher({
    what: "the jobs",
    content,
    load,
    pause: () => REFRESH_MS,
    signal,
  });

  showFilters();
  return {
    title: "Jobs",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Jobs"),
        pauses.pauseAll,
        refresher.controls,
      ),
      pauses.element,
      counts.element,
      filterForm.element,
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
    update(newQuery) {
      filters = readFilters(newQuery);
      showFilters();
      refresher.reset();
    },
  };

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const options = { signal: turnSignal };
    // The list works without the counts.
    const [page, stats] = await Promise.all([
      api.listJobs({ ...filters, limit: PAGE_SIZE }, options),
      api
        .jobStats(options)
        .catch((error) => (error.kind === "aborted" ? Promise.reject(error) : null)),
      pauses.load(turnSignal),
    ]);
    counts.update(stats, filters);
    table.update(page.jobs);
    patch(empty, page.jobs.length === 0 && emptyMessage(filters));
    patch(
      pages,
      filters.cursor &&
        h("a", { class: "button", href: href("", { ...filters, cursor: "" }) }, "Newest"),
      page.next_cursor &&
        h(
          "a",
          {
            class: "button",
            href: href("", { ...filters, cursor: page.next_cursor }),
            rel: "next",
          },
          "Older",
        ),
    );
    return `${plural(page.jobs.length, "job")} shown.`;
  }

  function showFilters() {
    counts.update(undefined, filters);
    filterForm.update(filters);
  }
}

// ---- filters in the URL ------------------------------------------------------------------

/** @param {URLSearchParams} query */
function readFilters(query) {
  const value = (/** @type {string} */ name) => query.get(name) ?? "";
  return {
    status: value("status"),
    plugin: value("plugin"),
    target: value("target"),
    cursor: value("cursor"),
  };
}

// ---- counts ------------------------------------------------------------------------------

/** @type {FilterStatus[]} */
const FILTER_STATUSES = ["", ...STATUSES];

/** One link per status with its count, which filters by the status. */
function createCounts() {
  const list = h("ul", { class: "counts-list" });
  const note = h("p", { class: "muted counts-note" });
  /** @type {JobStats?} */
  let known = null;

  return {
    element: h("nav", { class: "counts", "aria-label": "Jobs by status" }, list, note),
    /**
     * `stats`: null if they could not be loaded, undefined to keep them.
     *
     * @param {JobStats | null | undefined} stats
     * @param {Filters} filters
     */
    update(stats, filters) {
      if (stats !== undefined) known = stats;
      reconcile(list, FILTER_STATUSES, {
        keyOf: (status) => status,
        create: countLink,
        update: (item, status) => showCount(item, status, filters),
      });
      const remarks = [
        stats === null && "Failed to load the counts.",
        (filters.plugin || filters.target) &&
          "The counts include all jobs; the plugin and target filters apply to the list only.",
      ];
      setText(note, remarks.filter(Boolean).join(" "));
    },
  };

  /** @param {FilterStatus} status */
  function countLink(status) {
    return h(
      "li",
      {},
      h(
        "a",
        { class: "count", "data-status": status || "all" },
        h("span", { class: "count-number" }),
        h("span", { class: "count-label" }, status ? statusLabel(status) : "All"),
        h("span", { class: "count-recent" }),
      ),
    );
  }

  /** @param {HTMLElement} item @param {FilterStatus} status @param {Filters} filters */
  function showCount(item, status, filters) {
    const [link] = item.getElementsByTagName("a");
    const [number, , recent] = link.children;
    link.href = href("", { ...filters, status, cursor: "" });
    if (filters.status === status) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    setText(number, known ? count(valueOf(known.by_status, status)) : "–");
    setText(recent, known ? `${count(valueOf(known.last_24h, status))} in 24 h` : "");
  }
}

/** @param {StatusCounts} byStatus @param {FilterStatus} status */
function valueOf(byStatus, status) {
  if (status) return byStatus[status];
  return Object.values(byStatus).reduce((sum, number) => sum + number, 0);
}

// ---- plugin and target filter ------------------------------------------------------------

/** @param {AbortSignal} signal */
function createFilterForm(signal) {
  const pluginNames = h("datalist", { id: uniqueId("plugins") });
  const targetNames = h("datalist", { id: uniqueId("targets") });
  const plugin = filterInput("plugin", pluginNames);
  const target = filterInput("target", targetNames);
  const clear = h("a", { class: "button button-quiet", href: href() }, "Clear filters");
  /** @type {Filters} */
  let filters;

  const element = h(
    "form",
    {
      class: "filters",
      role: "search",
      "aria-label": "Filter the jobs",
      onSubmit: apply,
      onChange: apply,
    },
    h("div", { class: "filter" }, h("label", { for: plugin.id }, "Plugin"), plugin, pluginNames),
    h("div", { class: "filter" }, h("label", { for: target.id }, "Target"), target, targetNames),
    h("button", { type: "submit", class: "button" }, "Filter"),
    clear,
  );
  element.addEventListener("focusin", suggest, { once: true });

  return {
    element,
    /** @param {Filters} now */
    update(now) {
      filters = now;
      plugin.value = now.plugin;
      target.value = now.target;
      clear.hidden = !(now.status || now.plugin || now.target || now.cursor);
    },
  };

  /** @param {Event} event */
  function apply(event) {
    event.preventDefault();
    const wanted = {
      ...filters,
      plugin: plugin.value.trim(),
      target: target.value.trim(),
    };
    if (wanted.plugin === filters.plugin && wanted.target === filters.target) return;
    navigate(href("", { ...wanted, cursor: "" }));
  }

  /**
   * Suggestions, of the first names only: the plugin or target of an old job may no longer exist.
   */
  async function suggest() {
    const option = (/** @type {{ name: string }} */ { name }) => h("option", { value: name });
    const [plugins, connections] = await Promise.allSettled([
      api.listPlugins({ signal }),
      api.listConnections({}, { signal }),
    ]);
    if (plugins.status === "fulfilled") patch(pluginNames, plugins.value.plugins.map(option));
    if (connections.status === "fulfilled")
      patch(targetNames, connections.value.connections.map(option));
  }
}

/** @param {string} name @param {HTMLDataListElement} suggestions */
function filterInput(name, suggestions) {
  return h("input", {
    id: uniqueId("filter"),
    name,
    list: suggestions.id,
    autocomplete: "off",
    spellcheck: "false",
  });
}

// ---- cells -------------------------------------------------------------------------------

/** @param {Job} job */
function statusCell(job) {
  const cancelling = job.cancel_requested && !isFinished(job.status);
  const paused = job.paused_by && `paused by ${job.paused_by.pause}`;
  const note = cancelling ? "cancelling" : paused;
  return [statusBadge(job.status), note && h("div", { class: "job-note" }, note)];
}

/** @param {Job} job */
function jobCell(job) {
  const note = job.description || summary(job.params);
  const failing = job.status === "failed" || job.status === "retrying";
  return [
    h("a", { class: "job-link", href: jobHref(job.id) }, pluginName(job.plugin, job.plugin_digest)),
    job.dry_run && h("span", { class: "tag" }, "dry run"),
    note && h("div", { class: "job-note" }, shorten(note, 160)),
    job.status === "running" &&
      job.progress &&
      h("div", { class: "job-note" }, progressBar(job.progress)),
    failing &&
      job.error_message &&
      h(
        "div",
        { class: "job-note job-note-error" },
        shorten(job.error_message.split("\n", 1)[0], 160),
      ),
  ];
}

/** A listed job contains only its first targets. @param {Job} job */
function targetsText({ targets, target_count: total }) {
  return andMore(targets, TARGETS_SHOWN, total) || "–";
}

/** @param {Filters} filters */
function emptyMessage(filters) {
  if (filters.cursor) return emptyBox("No older jobs.");
  if (filters.status || filters.plugin || filters.target) {
    return emptyBox(
      "No job matches these filters.",
      h("p", {}, h("a", { href: href() }, "Show all jobs")),
    );
  }
  return emptyBox(
    "No jobs yet.",
    may("jobs.submit") && [
      h(
        "p",
        {},
        h("a", { class: "button button-primary", href: href("new") }, "Submit the first job"),
      ),
      h("p", { class: "muted" }, "From a shell: ", h("code", {}, "scheduler job submit PLUGIN")),
    ],
  );
}
