// The dashboard's entry point: the routes to the views, and the shell around the views (navigation,
// connection banner, flash messages, health line).
//
// A view is a function `(context) → { title, element, ready?, refresh?, update? }`:
//   context.params   values of the `:name` parts of its path
//   context.query    URLSearchParams
//   context.signal   aborted when the user leaves; cancels every request and timer of the view
//   context.setTitle changes the document title
//   context.flash    shows a message that outlives the view
//   ready            promise: the first data is on the page (the scroll position can be restored)
//   refresh()        called after a lost connection is restored
//   update(query)    applies a new query in place; without it, the view is rebuilt

import { api, onReachability } from "./api.js";
import { h, patch } from "./dom.js";
import { count, plural } from "./format.js";
import { every } from "./poll.js";
import { href, startRouter } from "./router.js";
import { startClock } from "./components/time.js";
import { jobsView } from "./views/jobs.js";
import { notFoundView } from "./views/not-found.js";

// All views except the first page are loaded on demand.
const ROUTES = [
  { path: "", section: "jobs", view: async () => jobsView },
  { path: "jobs", section: "jobs", view: async () => jobsView },
  { path: "jobs/:id", section: "jobs", view: async () => (await import("./views/job.js")).jobView },
  { path: "new", section: "new", view: async () => (await import("./views/submit.js")).submitView },
  {
    path: "schedules",
    section: "schedules",
    view: async () => (await import("./views/schedules.js")).schedulesView,
  },
  {
    path: "notifications",
    section: "notifications",
    view: async () => (await import("./views/notifications.js")).notificationsView,
  },
  {
    path: "plugins",
    section: "plugins",
    view: async () => (await import("./views/plugins.js")).pluginsView,
  },
  {
    path: "connections",
    section: "connections",
    view: async () => (await import("./views/connections.js")).connectionsView,
  },
];

const RECONNECT_MS = 5_000;
const HEALTH_MS = 5_000;
const FLASH_MS = 8_000;

const main = part("main");
/** @type {any} */
let current = null; // { route, path, view, controller }; `view` is null until it is loaded

linkNavigation();
startClock();
startRouter({
  routes: ROUTES,
  fallback: { path: null, section: null, view: async () => notFoundView },
  show,
});
watchConnection();
watchHealth();

// ---- views -------------------------------------------------------------------------------

/** Shows the view of `match`; `arrival` is "load", "push" or "back". */
async function show(match, arrival, scrollTo) {
  if (current?.route === match.route && current.path === match.path && current.view?.update) {
    current.view.update(match.query);
    return;
  }
  current?.controller.abort();
  const controller = new AbortController();
  const entry = { route: match.route, path: match.path, view: null, controller };
  current = entry;
  markSection(match.route.section);
  const createView = await match.route.view().catch(() => unloadedView);
  if (controller.signal.aborted) return;
  const view = createView({
    params: match.params,
    query: match.query,
    signal: controller.signal,
    setTitle,
    flash,
  });
  entry.view = view;

  setTitle(view.title);
  main.replaceChildren(view.element);
  if (arrival !== "load") {
    const heading = main.querySelector("h1") ?? main;
    heading.focus({ preventScroll: true });
  }
  window.scrollTo(0, 0);
  if (scrollTo > 0) {
    await view.ready;
    if (!controller.signal.aborted) window.scrollTo(0, scrollTo);
  }
}

/** The server is unreachable, or was updated in the meantime. */
function unloadedView() {
  return {
    title: "Not loaded",
    element: h(
      "div",
      { class: "notice notice-error", role: "alert" },
      h("h1", { tabindex: "-1" }, "This page failed to load."),
      h("p", {}, "The server does not respond, or it was updated after the dashboard was opened."),
      h(
        "button",
        { type: "button", class: "button", onClick: () => location.reload() },
        "Reload the dashboard",
      ),
    ),
  };
}

function setTitle(title) {
  document.title = title ? `${title} · Job Scheduler` : "Job Scheduler";
}

/** Returns an element of `index.html`. */
function part(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html lacks the element ${id}`);
  return found;
}

// ---- shell -------------------------------------------------------------------------------

function linkNavigation() {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll("a[data-path]");
  for (const anchor of links) {
    anchor.href = href(anchor.dataset.path);
  }
  // A button, because `<base>` makes "#main" a link to another page.
  part("skip").addEventListener("click", () => main.focus());
}

function markSection(section) {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll("a[data-section]");
  for (const anchor of links) {
    if (anchor.dataset.section === section) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

let flashTimer;
function flash(message) {
  clearTimeout(flashTimer);
  const region = part("flash");
  region.replaceChildren(h("p", {}, message));
  flashTimer = setTimeout(() => region.replaceChildren(), FLASH_MS);
}

/** Shows that the connection is lost, polls until the server responds, then refreshes the view. */
function watchConnection() {
  const banner = part("connection-lost");
  let retry;
  onReachability((reachable) => {
    clearInterval(retry);
    if (reachable) {
      banner.replaceChildren();
      flash("Reconnected.");
      current?.view?.refresh?.();
      return;
    }
    const seconds = RECONNECT_MS / 1000;
    banner.replaceChildren(
      h(
        "p",
        {},
        h("strong", {}, "Connection lost."),
        ` The server does not respond. The page may be outdated; retrying every ${seconds} s.`,
      ),
    );
    retry = setInterval(() => api.health().catch(() => {}), RECONNECT_MS);
  });
}

function watchHealth() {
  const line = part("health");
  const trouble = part("trouble");
  every(HEALTH_MS, async (signal) => {
    let health;
    try {
      health = await api.health({ signal });
    } catch (error) {
      if (error.kind === "aborted") return;
      // An unhealthy server still reports its state.
      health = error.body?.storage ? error.body : null;
      if (!health) {
        patch(
          line,
          h("span", { class: "health health-bad" }, "Server: state unknown"),
          h("span", {}, error.message),
        );
        // The other banner already shows that the server is unreachable.
        patch(
          trouble,
          error.kind === "network" || error.kind === "timeout"
            ? null
            : h(
                "p",
                {},
                h("strong", {}, "The state of the server is unknown."),
                ` ${error.message}`,
              ),
        );
        return;
      }
    }
    patch(trouble, troubles(health));
    const good = health.status === "healthy";
    patch(
      line,
      h(
        "span",
        { class: good ? "health health-good" : "health health-bad" },
        `Server: ${health.status}`,
      ),
      health.version && h("span", {}, `Job Scheduler ${health.version}`),
      health.workers &&
        h(
          "span",
          {},
          `${count(health.workers.running)} of ${count(health.workers.concurrency)} workers busy`,
        ),
      health.notifications?.status === "unhealthy" &&
        h("a", { class: "health-bad", href: href("notifications") }, "Notifications fail"),
    );
  });
}

/** The problems in the server's state that the user must not overlook. */
function troubles({ status, storage, queue, plugins }) {
  const unwell = (part) => part && part.status !== "healthy";
  const parts = [
    unwell(storage) && "its database does not respond",
    unwell(queue) && "its queue does not respond",
  ].filter(Boolean);
  const broken = plugins?.broken ?? 0;
  return [
    storage?.problem
      ? h("p", {}, h("strong", {}, "The database has a problem."), ` ${storage.problem}`)
      : status !== "healthy" &&
        h(
          "p",
          {},
          h("strong", {}, "The server is unhealthy."),
          parts.length > 0
            ? ` Jobs are neither accepted nor run, because ${parts.join(" and ")}.`
            : "",
        ),
    ...(plugins?.problems ?? []).map((problem) =>
      h(
        "p",
        { class: "banner-warning" },
        h("strong", {}, "A plugin directory cannot be read."),
        ` ${problem}`,
      ),
    ),
    broken > 0 &&
      h(
        "p",
        { class: "banner-warning" },
        h("strong", {}, `${plural(broken, "plugin")} failed to load.`),
        " Jobs run the last version that loaded, if there is one. ",
        h("a", { href: href("plugins") }, broken === 1 ? "Show the error" : "Show the errors"),
      ),
  ];
}
