// Relative times that stay current: one timer updates every `<time>` on the page.

import { serverNow } from "../api.js";
import { h, setText } from "../dom.js";
import { absolute, duration, relative } from "../format.js";

const TICK_MS = 1_000;

/** "12 s ago", with the full time as its tooltip. @param {string?} [iso] */
export function relativeTime(iso) {
  if (!iso) return "–";
  return h(
    "time",
    { datetime: iso, title: absolute(iso), "data-shows": "relative" },
    relative(iso, serverNow()),
  );
}

/** "2026-03-01 14:05:09 UTC (12 s ago)", if there is enough space. @param {string?} [iso] */
export function fullTime(iso) {
  if (!iso) return "–";
  return h("span", {}, absolute(iso), " (", relativeTime(iso), ")");
}

/**
 * The time from `start` to `end`; without an end, it keeps counting.
 *
 * @param {string?} [start]
 * @param {string?} [end]
 */
export function elapsed(start, end) {
  if (!start) return "–";
  if (end) return duration(Date.parse(end) - Date.parse(start));
  return h(
    "time",
    { datetime: start, "data-shows": "elapsed" },
    duration(serverNow() - Date.parse(start)),
  );
}

/**
 * The age of data of the dashboard: both ends by the viewer's clock, not the server's.
 *
 * @param {Date} at
 */
export function localAge(at) {
  const iso = at.toISOString();
  return h(
    "time",
    { datetime: iso, title: absolute(iso), "data-shows": "local-age" },
    relative(iso, Date.now()),
  );
}

export function startClock() {
  setInterval(() => {
    if (document.hidden) return;
    /** @type {NodeListOf<HTMLTimeElement>} */
    const times = document.querySelectorAll("time[data-shows]");
    for (const element of times) {
      setText(element, WORDS[element.dataset.shows ?? "relative"](element.dateTime));
    }
  }, TICK_MS);
}

/** @type {Record<string, (iso: string) => string>} */
const WORDS = {
  relative: (iso) => relative(iso, serverNow()),
  elapsed: (iso) => duration(serverNow() - Date.parse(iso)),
  "local-age": (iso) => relative(iso, Date.now()),
};
