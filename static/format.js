// Formatting of values for people. Pure functions: no DOM, no clock of their own.

import { ExactNumber } from "./json.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const NUMBER = new Intl.NumberFormat("en");

/**
 * "12 s ago", "in 5 min"; a date if it is more than a month away.
 *
 * @param {string} iso
 * @param {number} now
 */
export function relative(iso, now) {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return String(iso);
  const distance = Math.abs(now - at);
  if (distance < 2 * SECOND) return "just now";
  if (distance > 31 * DAY) return localDate(new Date(at));
  const size = coarse(distance);
  return at > now ? `in ${size}` : `${size} ago`;
}

/**
 * "2026-03-01 14:05:09 UTC+01:00": the viewer's zone, with its offset so that the time can be
 * quoted.
 *
 * @param {string} iso
 */
export function absolute(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return String(iso);
  return `${localDate(at)} ${localTime(at)} ${zone(at)}`;
}

/** "14:05:09.042" @param {string} iso */
export function clockTime(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return String(iso);
  return `${localTime(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** "840 ms", "3.2 s", "1 min 12 s", "2 h 5 min", "3 d 4 h" @param {number} milliseconds */
export function duration(milliseconds) {
  const ms = Math.max(0, milliseconds);
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.floor((ms % MINUTE) / SECOND)} s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${Math.floor((ms % HOUR) / MINUTE)} min`;
  return `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h`;
}

/** @param {number | ExactNumber} number */
export function count(number) {
  // A text is formatted with all its digits.
  const text = number instanceof ExactNumber && /** @type {`${number}`} */ (number.text);
  return NUMBER.format(text || Number(number));
}

/**
 * `plural(1, "job")` is "1 job", `plural(3, "job")` "3 jobs".
 *
 * @param {number} number
 * @param {string} one
 */
export function plural(number, one) {
  return `${count(number)} ${one}${Number(number) === 1 ? "" : "s"}`;
}

/** @param {number} size */
export function bytes(size) {
  if (size < 1_000) return `${size} B`;
  if (size < 1_000_000) return `${(size / 1_000).toFixed(1)} kB`;
  return `${(size / 1_000_000).toFixed(1)} MB`;
}

/** @param {string} digest */
export function shortDigest(digest) {
  return String(digest)
    .replace(/^sha256:/, "")
    .slice(0, 10);
}

/** @param {unknown} value */
export function prettyJson(value) {
  return JSON.stringify(value, null, 2);
}

/**
 * Parameters on one line: `commands: show version, show clock · save: true`.
 *
 * @param {unknown} params
 */
export function summary(params) {
  if (!params || typeof params !== "object") return "";
  const parts = Object.entries(params).map(([name, value]) => `${name}: ${inline(value)}`);
  return shorten(parts.join(" · "), 120);
}

/** @param {string} text @param {number} limit */
export function shorten(text, limit) {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

/** @param {unknown} value @returns {string} */
function inline(value) {
  if (Array.isArray(value)) return value.slice(0, 20).map(inline).join(", ");
  if (value !== null && typeof value === "object") return shorten(JSON.stringify(value), 80);
  return shorten(String(value), 80);
}

/** @param {number} distance */
function coarse(distance) {
  if (distance < MINUTE) return `${Math.floor(distance / SECOND)} s`;
  if (distance < HOUR) return `${Math.floor(distance / MINUTE)} min`;
  if (distance < DAY) return `${Math.floor(distance / HOUR)} h`;
  return `${Math.floor(distance / DAY)} d`;
}

/** @param {Date} at */
function localDate(at) {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** @param {Date} at */
function localTime(at) {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** @param {Date} at */
function zone(at) {
  const east = -at.getTimezoneOffset();
  if (east === 0) return "UTC";
  const size = Math.abs(east);
  return `UTC${east < 0 ? "−" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}

/**
 * The first `shown` names and the number of the others: `a, b, c +7`.
 *
 * @param {string[]} names
 * @param {number} shown
 * @param {number?} [total]
 */
export function andMore(names, shown, total) {
  const text = names.slice(0, shown).join(", ");
  const left = (total ?? names.length) - Math.min(shown, names.length);
  return left > 0 ? `${text} +${left}` : text;
}
