// A job's log, growing at the end: filtered by level, following the end while the reader is there.

import { h, setText } from "../dom.js";
import { absolute, clockTime, count } from "../format.js";
import { isFinished } from "./status.js";

const LEVELS = ["debug", "info", "warn", "error"];
const FILTERS = [
  ["debug", "Everything"],
  ["info", "Info and above"],
  ["warn", "Warnings and errors"],
  ["error", "Errors only"],
];
/** The page keeps the last lines only; the whole log is in the API. */
const KEPT_LINES = 5_000;

/** Returns `{ element, append(entries) → how many were new, lastId(), settle(job) }`. */
export function createLogList() {
  const seen = new Set();
  let last = null;
  let dropped = 0;
  let following = false;

  const level = h("select", { id: "log-level", onChange: applyFilter }, FILTERS.map(([value, label]) => h("option", { value }, label)));
  const list = h("ol", { class: "log-lines" });
  // role=log would have every line read aloud, every two seconds.
  const box = h("div", { class: "log", tabindex: "0", role: "region", "aria-label": "Log lines", onScroll: () => { following = isAtEnd(); } }, list);
  const note = h("p", { class: "muted" });
  const tools = h("div", { class: "section-tools" }, h("label", { for: level.id }, "Level"), level);
  showNote(null);

  return {
    element: h("div", {}, tools, box, note),
    lastId: () => last,
    append(entries) {
      const fresh = entries.filter(({ id }) => !seen.has(id));
      if (fresh.length === 0) return 0;
      for (const entry of fresh) seen.add(entry.id);
      last = fresh.at(-1).id;
      list.append(...fresh.slice(-KEPT_LINES).map(createLine));
      dropped += Math.max(0, fresh.length - KEPT_LINES);
      while (list.childElementCount > KEPT_LINES) {
        list.firstElementChild.remove();
        dropped += 1;
      }
      return fresh.length;
    },
    /** After a turn: says what there is to say about an empty or shortened log, and follows its end. */
    settle(job) {
      // The log of a job under way opens at its end, that of a finished job at its beginning.
      if (box.hidden && !isFinished(job.status)) following = true;
      showNote(job);
      if (following) box.scrollTop = box.scrollHeight;
    },
  };

  function isAtEnd() {
    return box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  }

  function createLine(entry) {
    const severity = normalLevel(entry.level);
    return h(
      "li",
      { class: "log-line", "data-level": severity, hidden: !passes(severity) },
      h("time", { datetime: entry.timestamp, title: absolute(entry.timestamp) }, clockTime(entry.timestamp)),
      h("span", { class: "log-level" }, severity),
      h("span", { class: "log-message" }, entry.message, contextOf(entry.context)),
    );
  }

  function applyFilter() {
    for (const line of list.children) line.hidden = !passes(line.dataset.level);
    showNote(null);
  }

  function passes(severity) {
    const rank = LEVELS.indexOf(severity);
    return rank < 0 || rank >= LEVELS.indexOf(level.value);
  }

  function showNote(job) {
    const lines = list.childElementCount;
    const anyShown = [...list.children].some((line) => !line.hidden);
    tools.hidden = lines === 0;
    box.hidden = !anyShown;
    if (lines === 0) setText(note, job && isFinished(job.status) ? "This job logged nothing." : "Nothing logged yet.");
    else if (!anyShown) setText(note, "No line has this level.");
    else setText(note, dropped > 0 ? `The last ${count(lines)} lines are shown; ${count(dropped)} earlier ones are left out.` : "");
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
