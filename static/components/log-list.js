// A job's log: its last lines, earlier ones on demand, and new ones as they arrive. The list
// follows the end while the reader is there. The server filters by level, so the filter covers all
// lines of the job and not only those on the page.

import { api, asApiError } from "../api.js";
import { button, h, setText } from "../dom.js";
import { absolute, clockTime, count } from "../format.js";
import { isFinished } from "./job.js";

const LEVELS = [
  ["debug", "Everything"],
  ["info", "Info and above"],
  ["warn", "Warnings and errors"],
  ["error", "Errors only"],
];
const PAGE_LINES = 1_000;
/** Maximum lines on the page while the log is followed; the reader can load earlier ones again. */
const KEPT_LINES = 5_000;
/** Pages of new lines per update, so that the rest of the page need not wait for them. */
const PAGES_A_TURN = 5;
/** Greater than the id of any line. A string, because a number cannot represent all its digits. */
const END = "9223372036854775807";

/**
 * Returns `{ element, load(options) → whether all lines are loaded for now, settle(job) }`.
 *
 * @param {LogListOptions} options
 */
export function createLogList({ jobId, changed, signal }) {
  let first = 0;
  /** @type {number?} */
  let last = null;
  let hasEarlier = false;
  let following = false;
  let opened = false;
  let kept = KEPT_LINES;
  /** Incremented when the reader selects other lines, to discard responses to older requests. */
  let question = 0;

  const level = h(
    "select",
    { id: "log-level", onChange: restart },
    LEVELS.map(([value, label]) => h("option", { value }, label)),
  );
  const list = h("ol", { class: "log-lines" });
  // With role=log, screen readers would read every line aloud, every two seconds.
  const box = h(
    "div",
    {
      class: "log",
      tabindex: "0",
      role: "region",
      "aria-label": "Log lines",
      onScroll: () => {
        following = isAtEnd();
      },
    },
    list,
  );
  const note = h("p", { class: "muted", role: "status" });
  const earlier = button(
    { class: "button button-small", onClick: showEarlier },
    "Show earlier lines",
  );
  const tools = h(
    "div",
    { class: "section-tools" },
    h("label", { for: level.id }, "Level"),
    level,
    earlier,
  );
  showNote(null);

  return {
    element: h("div", {}, tools, box, note),
    /** @param {RequestOptions} options */
    async load(options) {
      const asked = question;
      if (last === null) {
        const answer = await ask({ before: END }, options);
        if (asked !== question) return false;
        list.replaceChildren();
        append(answer.logs);
        hasEarlier = (answer.next_before ?? null) !== null;
        return true;
      }
      for (let page = 0; page < PAGES_A_TURN; page += 1) {
        const answer = await ask({ after: last }, options);
        if (asked !== question) return false;
        append(answer.logs);
        if ((answer.next_after ?? null) === null) return true;
        if (following) {
          // Too many lines to read: restarts at the end, which the reader follows.
          last = null;
          return false;
        }
      }
      return false;
    },
    /**
     * After an update: shows a note on an empty or shortened log, and follows its end.
     *
     * @param {Job} job
     */
    settle(job) {
      if (!opened && last !== null) {
        opened = true;
        // The log of an unfinished job opens at its end, as does one that is longer than a page.
        following = !isFinished(job.status) || hasEarlier;
      }
      showNote(job);
      // Deferred: on the first update the view is not shown yet, and has no height.
      if (following) requestAnimationFrame(toEnd);
    },
  };

  /** @param {{ before?: string | number, after?: number }} range @param {RequestOptions} options */
  function ask(range, options) {
    return api.jobLogs(jobId, { level: level.value, limit: PAGE_LINES, ...range }, options);
  }

  function toEnd() {
    if (following) box.scrollTop = box.scrollHeight;
  }

  /** @param {LogLine[]} lines */
  function append(lines) {
    const newest = lines.at(-1);
    if (!newest) return;
    list.append(...lines.map(createLine));
    last = newest.id;
    while (following && list.childElementCount > kept) {
      list.firstElementChild?.remove();
      hasEarlier = true;
    }
    first = Number(list.querySelector("li")?.dataset.id);
  }

  async function showEarlier() {
    const asked = question;
    earlier.disabled = true;
    try {
      const answer = await ask({ before: first }, { signal });
      if (asked !== question) return;
      const height = box.scrollHeight;
      list.prepend(...answer.logs.map(createLine));
      if (answer.logs.length > 0) first = answer.logs[0].id;
      hasEarlier = (answer.next_before ?? null) !== null;
      kept = Math.max(kept, list.childElementCount);
      // Keeps the scroll position.
      following = false;
      box.scrollTop += box.scrollHeight - height;
      showNote(null);
      if (earlier.hidden) box.focus();
    } catch (error) {
      const { kind, message } = asApiError(error);
      if (kind !== "aborted") setText(note, `Failed to load earlier lines. ${message}`);
    } finally {
      earlier.disabled = false;
    }
  }

  function restart() {
    question += 1;
    first = 0;
    last = null;
    hasEarlier = false;
    opened = false;
    kept = KEPT_LINES;
    list.replaceChildren();
    setText(note, "Loading…");
    changed();
  }

  function isAtEnd() {
    return box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  }

  /** @param {Job?} job */
  function showNote(job) {
    const lines = list.childElementCount;
    const filtered = level.value !== LEVELS[0][0];
    tools.hidden = lines === 0 && !filtered;
    box.hidden = lines === 0;
    earlier.hidden = !hasEarlier;
    if (lines > 0)
      setText(
        note,
        hasEarlier
          ? `The last ${count(lines)} lines${filtered ? " of this level" : ""} are shown; there are earlier ones.`
          : "",
      );
    else if (filtered) setText(note, "No lines of this level.");
    else
      setText(
        note,
        job && isFinished(job.status) ? "This job logged nothing." : "Nothing logged yet.",
      );
  }
}

/** @param {LogLine} line */
function createLine({ id, level, timestamp, message, context }) {
  return h(
    "li",
    { class: "log-line", "data-level": level, "data-id": id },
    h("time", { datetime: timestamp, title: absolute(timestamp) }, clockTime(timestamp)),
    h("span", { class: "log-level" }, level),
    h("span", { class: "log-message" }, message, contextOf(context)),
  );
}

/** @param {unknown} context */
function contextOf(context) {
  if (context === null || context === undefined || context === "") return null;
  if (typeof context === "object" && Object.keys(context).length === 0) return null;
  return h(
    "code",
    { class: "log-context" },
    typeof context === "string" ? context : JSON.stringify(context),
  );
}
