// A job's log: its last lines, earlier ones on demand, and new ones as they come; the end is followed
// while the reader is there. The server filters by level, so that every line of the job is looked
// through, and not only the lines that are on the page.

import { h, setText } from "../dom.js";
import { absolute, clockTime, count } from "../format.js";
import { isFinished } from "./status.js";

const LEVELS = [
  ["debug", "Everything"],
  ["info", "Info and above"],
  ["warn", "Warnings and errors"],
  ["error", "Errors only"],
];
const PAGE_LINES = 1_000;
/** Lines that a followed log keeps on the page; earlier ones can be shown again. */
const KEPT_LINES = 5_000;
/** New lines arrive over several turns, so that the rest of the page need not wait for them. */
const PAGES_A_TURN = 5;
/** Greater than the id of any line. A text, because it has more digits than a number keeps. */
const END = "9223372036854775807";

/**
 * `ask(filter, options)` asks the server for lines; `changed()` is called when the reader wants others,
 * and makes the view call `load`. Returns `{ element, load(options) → whether that were all for now,
 * settle(job) }`.
 */
export function createLogList({ ask, changed }) {
  let first = null;
  let last = null;
  let hasEarlier = false;
  let following = false;
  let opened = false;
  let kept = KEPT_LINES;
  /** Grows when the reader wants other lines: an answer to an older question is thrown away. */
  let question = 0;

  const level = h("select", { id: "log-level", onChange: restart }, LEVELS.map(([value, label]) => h("option", { value }, label)));
  const list = h("ol", { class: "log-lines" });
  // role=log would have every line read aloud, every two seconds.
  const box = h("div", { class: "log", tabindex: "0", role: "region", "aria-label": "Log lines", onScroll: () => { following = isAtEnd(); } }, list);
  const note = h("p", { class: "muted", role: "status" });
  const earlier = h("button", { type: "button", class: "button button-small", onClick: showEarlier }, "Show earlier lines");
  const tools = h("div", { class: "section-tools" }, h("label", { for: level.id }, "Level"), level, earlier);
  showNote(null);

  return {
    element: h("div", {}, tools, box, note),
    async load(options) {
      const asked = question;
      if (last === null) {
        const answer = await ask({ level: level.value, before: END, limit: PAGE_LINES }, options);
        if (asked !== question) return false;
        list.replaceChildren();
        append(answer.logs);
        hasEarlier = (answer.next_before ?? null) !== null;
        return true;
      }
      for (let page = 0; page < PAGES_A_TURN; page += 1) {
        const answer = await ask({ level: level.value, after: last, limit: PAGE_LINES }, options);
        if (asked !== question) return false;
        append(answer.logs);
        if ((answer.next_after ?? null) === null) return true;
        if (following) {
          // Too many to read: the last ones are what the reader follows.
          last = null;
          return false;
        }
      }
      return false;
    },
    /** After a turn: says what there is to say about an empty or shortened log, and follows its end. */
    settle(job) {
      if (!opened && last !== null) {
        opened = true;
        // The log of a job under way opens at its end, as does one that is longer than a page.
        following = !isFinished(job.status) || hasEarlier;
      }
      showNote(job);
      // Later: on the first turn the view is not shown yet, and has no height.
      if (following) requestAnimationFrame(toEnd);
    },
  };

  function toEnd() {
    if (following) box.scrollTop = box.scrollHeight;
  }

  function append(lines) {
    if (lines.length === 0) return;
    list.append(...lines.map(createLine));
    last = lines.at(-1).id;
    if (following) {
      while (list.childElementCount > kept) {
        list.firstElementChild.remove();
        hasEarlier = true;
      }
    }
    first = Number(list.firstElementChild.dataset.id);
  }

  async function showEarlier() {
    const asked = question;
    earlier.disabled = true;
    try {
      const answer = await ask({ level: level.value, before: first, limit: PAGE_LINES }, {});
      if (asked !== question) return;
      const height = box.scrollHeight;
      list.prepend(...answer.logs.map(createLine));
      if (answer.logs.length > 0) first = answer.logs[0].id;
      hasEarlier = (answer.next_before ?? null) !== null;
      kept = Math.max(kept, list.childElementCount);
      // What was read stays where it is.
      following = false;
      box.scrollTop += box.scrollHeight - height;
      showNote(null);
      if (earlier.hidden) box.focus();
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      if (error.kind !== "aborted") setText(note, `Failed to load earlier lines. ${error.message}`);
    } finally {
      earlier.disabled = false;
    }
  }

  function restart() {
    question += 1;
    first = null;
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

  function createLine(entry) {
    const severity = normalLevel(entry.level);
    return h(
      "li",
      { class: "log-line", "data-level": severity, "data-id": entry.id },
      h("time", { datetime: entry.timestamp, title: absolute(entry.timestamp) }, clockTime(entry.timestamp)),
      h("span", { class: "log-level" }, severity),
      h("span", { class: "log-message" }, entry.message, contextOf(entry.context)),
    );
  }

  function showNote(job) {
    const lines = list.childElementCount;
    const filtered = level.value !== LEVELS[0][0];
    tools.hidden = lines === 0 && !filtered;
    box.hidden = lines === 0;
    earlier.hidden = !hasEarlier;
    if (lines > 0) setText(note, hasEarlier ? `The last ${count(lines)} lines${filtered ? " of this level" : ""} are shown; there are earlier ones.` : "");
    else if (filtered) setText(note, "No lines of this level.");
    else setText(note, job && isFinished(job.status) ? "This job logged nothing." : "Nothing logged yet.");
  }
}

function normalLevel(level) {
  const lower = String(level).toLowerCase();
  return lower === "warning" ? "warn" : lower;
}

function contextOf(context) {
  if (context === null || context === undefined || context === "") return null;
  if (typeof context === "object" && Object.keys(context).length === 0) return null;
  return h("code", { class: "log-context" }, typeof context === "string" ? context : JSON.stringify(context));
}
