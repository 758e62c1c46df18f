// Content that is loaded, kept fresh, and honest about its age: loading, failed with a way to
// try again, shown, shown but out of date.

import { h, setText } from "../dom.js";
import { every } from "../poll.js";
import { localAge } from "./time.js";

const SLOWEST_RETRY_MS = 30_000;

/**
 * `load(signal)` fetches and renders into `content`; what it returns is announced to screen
 * readers after a refresh that the user asked for. `pause()` gives the milliseconds to the next
 * turn, null for none. `missing` is shown instead of an error when the server answers 404.
 *
 * Returns `element` (content and its states), `controls` (age and Refresh button), `ready`,
 * `refresh()`, `update()` and `reset()`: the content answers another question from now on.
 */
export function createRefresher({ what, content, load, pause = () => null, signal, missing }) {
  const notice = h("div", { class: "notices" });
  const placeholder = h("div", { class: "placeholder" });
  const age = h("span", { class: "age" });
  const announcement = h("span", { class: "visually-hidden", role: "status" });
  const button = h("button", { type: "button", class: "button", onClick: refresh }, "Refresh");

  let loaded = false;
  let loadedAt = null;
  let failures = 0;
  let gone = false;
  let askedFor = false;
  let resolveReady;
  const ready = new Promise((resolve) => { resolveReady = resolve; });

  content.hidden = true;
  placeholder.replaceChildren(h("p", { class: "loading", role: "status" }, `Loading ${what}…`));
  const run = every(nextPause, turn, signal);

  function nextPause() {
    const wait = gone ? null : pause();
    // A server in trouble is asked less often, but the content never gives up on its own.
    if (failures > 0 && wait !== null) return Math.max(wait, Math.min(SLOWEST_RETRY_MS, wait * 2 ** failures));
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
      "Refreshed ", localAge(loadedAt), rhythm ? h("span", { class: "rhythm" }, ` · every ${rhythm / 1000} s`) : "",
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
      // The same trouble again is not news: rewriting the alert would have it read out every time.
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
    /** A turn that nobody asked for: nothing is announced. */
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

/** What went wrong, in the server's words where it has some, and a button to try again. */
export function errorBox(headline, error, retry, ...more) {
  return h(
    "div",
    { class: "notice notice-error", role: "alert" },
    h("p", {}, h("strong", {}, headline), " ", error.message),
    more,
    retry && h("button", { type: "button", class: "button", onClick: retry }, "Retry"),
  );
}

/** Nothing here, and what to do about it. */
export function emptyBox(headline, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-headline" }, headline), more);
}
