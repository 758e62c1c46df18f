// JSON in which numbers keep all their digits. Only this module calls `JSON.parse`.
//
// A JavaScript number rounds integers beyond 2^53 and loses the difference between 1 and 1.0. A
// number that would not be written as it was read becomes an `ExactNumber`, which is shown and
// written with the original digits. This needs `JSON.rawJSON` and the source text that `JSON.parse`
// passes to its reviver. In a browser without them, a number that may have been rounded becomes a
// `RoundedNumber`: the page marks it, and must not send it.

/** `JSON` with `rawJSON`, which is missing in some browsers. @type {any} */
const RawJson = JSON;
const KEEPS_DIGITS = typeof RawJson.rawJSON === "function" && keepsSource();

/** The grammar of a number in JSON. */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
/** A number with at most this many digits is exact. */
const SURE_DIGITS = 15;

/** A number with the digits that it was read with. */
export class ExactNumber {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    Object.freeze(this);
  }

  /** Converts to a number if rounding does no harm, otherwise to text. @param {string} hint */
  [Symbol.toPrimitive](hint) {
    return hint === "number" ? Number(this.text) : this.text;
  }

  toJSON() {
    return RawJson.rawJSON(this.text);
  }
}

/** A number that may have lost digits in this browser. */
class RoundedNumber {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
    Object.freeze(this);
  }

  /** @param {string} hint */
  [Symbol.toPrimitive](hint) {
    return hint === "number" ? this.value : `≈${this.value}`;
  }

  /** A text, so that no server interprets it as the number. */
  toJSON() {
    return `≈${this.value}`;
  }
}

/** Parses JSON. Throws a SyntaxError like `JSON.parse`. @param {string} text */
export function parseJson(text) {
  return JSON.parse(text, reviver);
}

/**
 * Returns the number in a text, with all its digits; undefined if it is not a number.
 *
 * @param {string} text
 */
export function parseNumber(text) {
  const trimmed = text.trim();
  if (NUMBER.test(trimmed)) return parseJson(trimmed);
  // Forms allow notations that JSON does not have: 007, .5, +1.
  const value = trimmed === "" ? Number.NaN : Number(trimmed);
  return Number.isFinite(value) && isSure(value) ? value : undefined;
}

/**
 * Returns whether a value contains a number that may have lost digits.
 *
 * @param {unknown} value
 * @returns {boolean}
 */
export function isRounded(value) {
  if (value instanceof RoundedNumber) return true;
  return value !== null && typeof value === "object" && Object.values(value).some(isRounded);
}

/** @param {string} key @param {unknown} value @param {{ source?: string }} [context] */
function reviver(key, value, context) {
  return typeof value === "number" ? keep(value, context?.source) : value;
}

/** @param {number} value @param {string} [source] */
function keep(value, source = String(value)) {
  if (KEEPS_DIGITS) return String(value) === source ? value : new ExactNumber(source);
  return isSure(value) ? value : new RoundedNumber(value);
}

/** Returns whether a number has few enough digits to be exact. @param {number} value */
function isSure(value) {
  if (Number.isInteger(value)) return Number.isSafeInteger(value);
  return (
    value
      .toString()
      .replace(/e.*$/, "")
      .replace(/^-?0?\.?0*|\./g, "").length <= SURE_DIGITS
  );
}

function keepsSource() {
  /** @param {string} key @param {unknown} value @param {{ source?: string }} [context] */
  const sourceOf = (key, value, context) => context?.source;
  return JSON.parse("1.0", sourceOf) === "1.0";
}
