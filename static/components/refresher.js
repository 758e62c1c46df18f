// Content that is loaded and refreshed, with its states: loading, failed with a retry button,
// shown, shown but out of date.

import { h, setText } from "../dom.js";
import { every } from "../poll.js";
import { localAge } from "./time.js";

const SLOWEST_RETRY_MS = 30_000;

/**
 * `load(signal)` fetches and renders into `content`; its return value is announced to screen
 * readers after a refresh that the user requested. `pause()` returns the milliseconds until the
 * next refresh, null for none. `missing` is shown instead of an error when the server responds with
 * 404.
 *
 * Returns `element` (content and its states), `controls` (age and Refresh button), `ready`,
 * `refresh()`, `update()` and `reset()`, which discards the state when the content is to show
 * something else.
 *
 * @param {{
 *   what: string,
 *   content: HTMLElement,
 *   load: (signal: AbortSignal) => Promise<string | void>,
 *   pause?: () => number | null,
 *   signal: AbortSignal,
 *   missing?: () => Node,
 * }} options
 */
export function createRefresher({ what, content, load, pause = () => null, signal, missing }) {
  const notice = h("div", { class: "notices" });
  const placeholder = h("div", { class: "placeholder" });
  const age = h("span", { class: "age" });
  const announcement = h("span", { class: "visually-hidden", role: "status" });
  const button = h("button", { type: "button", class: "button", onClick: refresh }, "Refresh");

  let loaded = false;
  /** @type {Date | null} */
  let loadedAt = null;
  let failures = 0;
  let gone = false;
  let askedFor = false;
  let resolveReady;
  const ready = new Promise((resolve) => {
    resolveReady = resolve;
  });

  content.hidden = true;
  placeholder.replaceChildren(h("p", { class: "loading", role: "status" }, `Loading ${what}…`));
  const run = every(nextPause, turn, signal);

  function nextPause() {
    const wait = gone ? null : pause();
    // Backs off while the server fails, but never stops retrying.
    if (failures > 0 && wait !== null)
      return Math.max(wait, Math.min(SLOWEST_RETRY_MS, wait * 2 ** failures));
    return wait;
  }

  async function turn(turnSignal) {
    button.setAttribute("aria-busy", "true");
    try {
      const message = await load(turnSignal);
      if (turnSignal.aborted) return;
      succeed(message);
    } catch (error) {
      if (error.kind === "aborted" || turnSignal.aborted) return;
      if (error.name !== "ApiError") console.error(error);
      fail(error);
    }
    button.removeAttribute("aria-busy");
    resolveReady();
  }

  function succeed(message) {
    const recovered = failures > 0;
    failures = 0;
    gone = false;
    loaded = true;
    loadedAt = new Date();
    content.hidden = false;
    content.removeAttribute("aria-busy");
    placeholder.replaceChildren();
    notice.replaceChildren();
    const rhythm = pause();
    age.replaceChildren(
      "Refreshed ",
      localAge(loadedAt),
      rhythm ? h("span", { class: "rhythm" }, ` · every ${rhythm / 1000} s`) : "",
    );
    if (askedFor || recovered) announce(message ? `Refreshed. ${message}` : "Refreshed.");
    askedFor = false;
  }

  function fail(error) {
    failures += 1;
    askedFor = false;
    if (error.status === 404 && missing) {
      gone = true;
      showInstead(missing());
    } else if (!loaded) {
      showInstead(errorBox(`Failed to load ${what}.`, error, refresh));
    } else {
      const since = h("p", {}, "The data below was loaded ", localAge(loadedAt), ".");
      const box = errorBox(`Failed to refresh ${what}.`, error, refresh, since);
      // Shows a repeated failure only once: screen readers would announce the alert every time.
      if (failures === 1) notice.replaceChildren(box);
    }
  }

  function showInstead(node) {
    loaded = false;
    content.hidden = true;
    content.removeAttribute("aria-busy");
    notice.replaceChildren();
    age.replaceChildren();
    placeholder.replaceChildren(node);
  }

  function announce(message) {
    setText(announcement, "");
    setText(announcement, message);
  }

  function refresh() {
    askedFor = true;
    return run();
  }

  return {
    element: h("div", { class: "refreshed" }, notice, placeholder, content),
    controls: h("div", { class: "refresh-controls" }, age, button, announcement),
    ready,
    refresh,
    /** An automatic refresh: nothing is announced. */
    update: run,
    reset() {
      loaded = false;
      gone = false;
      failures = 0;
      content.setAttribute("aria-busy", "true");
      return refresh();
    },
  };
}

/** An error, with the server's message if there is one, and a button to retry. */
export function errorBox(headline, error, retry, ...more) {
  return h(
    "div",
    { class: "notice notice-error", role: "alert" },
    h("p", {}, h("strong", {}, headline), " ", error.message),
    more,
    retry && h("button", { type: "button", class: "button", onClick: retry }, "Retry"),
  );
}

/** A note on empty content, with a hint. */
export function emptyBox(headline, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-headline" }, headline), more);
}
