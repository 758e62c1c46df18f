// Content that is loaded and refreshed, with its states: loading, failed with a retry button,
// shown, shown but out of date.

import { asApiError } from "../api.js";
import { button, h, patch, setText } from "../dom.js";
import { every } from "../poll.js";
import { localAge } from "./time.js";

const SLOWEST_RETRY_MS = 30_000;

/**
 * Returns `element` (content and its states), `controls` (age and Refresh button), `ready`,
 * `refresh()`, `update()` and `reset()`, which discards the state when the content is to show
 * something else.
 *
 * @param {RefresherOptions} options
 */
export function createRefresher({ what, content, load, pause = () => null, signal, missing }) {
  const notice = h("div", { class: "notices" });
  const placeholder = h("div", { class: "placeholder" });
  const age = h("span", { class: "age" });
  const announcement = h("span", { class: "visually-hidden", role: "status" });
  const refreshButton = button({ onClick: refresh }, "Refresh");

  let loaded = false;
  /** @type {Date | null} */
  let loadedAt = null;
  let failures = 0;
  let gone = false;
  let askedFor = false;
  /** @type {() => void} */
  let resolveReady;
  /** @type {Promise<void>} */
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

  /** @param {AbortSignal} turnSignal */
  async function turn(turnSignal) {
    refreshButton.setAttribute("aria-busy", "true");
    try {
      const message = await load(turnSignal);
      if (turnSignal.aborted) return;
      succeed(message);
    } catch (caught) {
      if (turnSignal.aborted) return;
      const error = asApiError(caught);
      if (error.kind === "aborted") return;
      fail(error);
    }
    refreshButton.removeAttribute("aria-busy");
    resolveReady();
  }

  /** @param {string | void} message */
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

  /** @param {ApiError} error */
  function fail(error) {
    failures += 1;
    askedFor = false;
    if (error.status === 404 && missing) {
      gone = true;
      showInstead(missing());
    } else if (!loaded || !loadedAt) {
      showInstead(errorBox(`Failed to load ${what}.`, error, refresh));
    } else {
      const since = h("p", {}, "The data below was loaded ", localAge(loadedAt), ".");
      const box = errorBox(`Failed to refresh ${what}.`, error, refresh, since);
      // Shows a repeated failure only once: screen readers would announce the alert every time.
      if (failures === 1) notice.replaceChildren(box);
    }
  }

  /** @param {Node} node */
  function showInstead(node) {
    loaded = false;
    content.hidden = true;
    content.removeAttribute("aria-busy");
    notice.replaceChildren();
    age.replaceChildren();
    placeholder.replaceChildren(node);
  }

  /** @param {string} message */
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
    controls: h("div", { class: "refresh-controls" }, age, refreshButton, announcement),
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

/**
 * An error, with the server's message if there is one, and a button to retry.
 *
 * @param {string} headline
 * @param {ApiError} error
 * @param {() => unknown} retry
 * @param {...Child} more
 */
function errorBox(headline, error, retry, ...more) {
  return h(
    "div",
    { class: "notice notice-error", role: "alert" },
    h("p", {}, h("strong", {}, headline), " ", error.message),
    more,
    button({ onClick: retry }, "Retry"),
  );
}

/**
 * Returns the view of a list: a heading, `parts`, and the refreshed content.
 *
 * @param {string} title
 * @param {ReturnType<typeof createRefresher>} refresher
 * @param {...Child} parts
 */
export function listView(title, { controls, element, ready, refresh }, ...parts) {
  const heading = h("h1", { tabindex: "-1" }, title);
  return {
    title,
    element: h("div", {}, h("div", { class: "view-head" }, heading, controls), parts, element),
    ready,
    refresh,
  };
}

/**
 * Shows a caught error in `region`, unless the user has left.
 *
 * @param {Element} region
 * @param {unknown} caught
 */
export function showError(region, caught) {
  const { kind, message } = asApiError(caught);
  if (kind !== "aborted") patch(region, h("p", { class: "notice notice-error" }, message));
}

/** A note on empty content, with a hint. @param {string} headline @param {...Child} more */
export function emptyBox(headline, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-headline" }, headline), more);
}
