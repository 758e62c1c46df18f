// The child jobs of a job, with their number by status.

import { h, setText } from "../../dom.js";
import { count, plural } from "../../format.js";
import { jobHref } from "../../router.js";
import {
  isFinished,
  jobDuration,
  startedCell,
  statusBadge,
  STATUSES,
} from "../../components/job.js";
import { pluginName } from "../../components/plugin.js";
import { createTable } from "../../components/table.js";

/** @type {Column<Job>[]} */
const COLUMNS = [
  {
    label: "Status",
    render: (child) => statusBadge(child.status),
    class: "col-status",
  },
  {
    label: "Job",
    render: (child) =>
      h(
        "a",
        { class: "job-link", href: jobHref(child.id) },
        pluginName(child.plugin, child.plugin_digest),
      ),
    class: "col-job",
    header: true,
  },
  {
    label: "Targets",
    render: (child) => child.targets.join(", ") || "–",
    class: "col-targets",
  },
  { label: "Started", render: startedCell, class: "col-time" },
  { label: "Duration", render: jobDuration, class: "col-time" },
];

/** Returns `element`, `update(jobs, hasMore)` and `isFinished()`. */
export function createChildren() {
  const table = createTable({
    caption: "Child jobs",
    columns: COLUMNS,
    keyOf: (child) => child.id,
  });
  const note = h("p", { class: "muted" });
  const element = h(
    "section",
    { class: "section" },
    h("h2", {}, "Child jobs"),
    note,
    table.element,
  );
  let finished = true;
  return {
    element,
    isFinished: () => finished,
    /** @param {Job[]} jobs @param {boolean} hasMore */
    update(jobs, hasMore) {
      finished = jobs.every(({ status }) => isFinished(status));
      element.hidden = jobs.length === 0;
      table.update(jobs);
      const text = STATUSES.flatMap((status) => {
        const number = jobs.filter((child) => child.status === status).length;
        return number > 0 ? `${count(number)} ${status}` : [];
      });
      const listed = `${hasMore ? "newest " : ""}${plural(jobs.length, "child job")}`;
      setText(note, `${text.join(", ")} of the ${listed}.`);
    },
  };
}
