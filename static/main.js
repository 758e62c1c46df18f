// The dashboard's entry: which URL shows which view, and the shell around the views
// (navigation, connection banner, flash messages, health line).
//
// A view is a function `(context) → { title, element, ready?, refresh?, update? }`:
//   context.params   values of the `:name` parts of its path
//   context.query    URLSearchParams
//   context.signal   aborted when the user leaves; every request and timer hangs on it
//   context.setTitle changes the document title
//   context.flash    shows a message that outlives the view
//   ready            promise: the first data is on the page (the scroll position can be restored)
//   refresh()        called when a lost connection is back
//   update(query)    takes a new query in place; without it the view is built anew

import { api, onReachability } from "./api.js";
import { h, patch } from "./dom.js";
import { count, plural } from "./format.js";
import { every } from "./poll.js";
import { href, startRouter } from "./router.js";
import { startClock } from "./components/time.js";
import { connectionsView } from "./views/connections.js";
import { jobView } from "./views/job.js";
import { jobsView } from "./views/jobs.js";
import { notFoundView } from "./views/not-found.js";
import { notificationsView } from "./views/notifications.js";
import { pluginsView } from "./views/plugins.js";
import { schedulesView } from "./views/schedules.js";
import { submitView } from "./views/submit.js";

const ROUTES = [
  { path: "", section: "jobs", view: jobsView },
  { path: "jobs", section: "jobs", view: jobsView },
  { path: "jobs/:id", section: "jobs", view: jobView },
  { path: "new", section: "new", view: submitView },
  { path: "schedules", section: "schedules", view: schedulesView },
  { path: "notifications", section: "notifications", view: notificationsView },
  { path: "plugins", section: "plugins", view: pluginsView },
  { path: "connections", section: "connections", view: connectionsView },
];

const RECONNECT_MS = 5_000;
const HEALTH_MS = 30_000;
const FLASH_MS = 8_000;

const main = document.getElementById("main");
let current = null; // { route, path, view, controller }

linkNavigation();
startClock();
startRouter({ routes: ROUTES, fallback: { path: null, section: null, view: notFoundView }, show });
watchConnection();
watchHealth();

// ---- views -------------------------------------------------------------------------------

/** Shows the view of `match`; `arrival` is "load", "push" or "back". */
async function show(match, arrival, scrollTo) {
  if (current?.route === match.route && current.path === match.path && current.view.update) {
    current.view.update(match.query);
    return;
  }
  current?.controller.abort();
  const controller = new AbortController();
  const view = match.route.view({
    params: match.params,
    query: match.query,
    signal: controller.signal,
    setTitle,
    flash,
  });
  current = { route: match.route, path: match.path, view, controller };

  setTitle(view.title);
  markSection(match.route.section);
  main.replaceChildren(view.element);
  if (arrival !== "load") {
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  }
  window.scrollTo(0, 0);
  if (scrollTo > 0) {
    await view.ready;
    if (!controller.signal.aborted) window.scrollTo(0, scrollTo);
  }
}

function setTitle(title) {
  document.title = title ? `${title} · Job Scheduler` : "Job Scheduler";
}

// ---- shell -------------------------------------------------------------------------------

function linkNavigation() {
  for (const anchor of document.querySelectorAll("a[data-path]")) {
    anchor.href = href(anchor.dataset.path);
  }
  // A button, because `<base>` makes "#main" a link to another page.
  document.getElementById("skip").addEventListener("click", () => main.focus());
}

function markSection(section) {
  for (const anchor of document.querySelectorAll("a[data-section]")) {
    if (anchor.dataset.section === section) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

let flashTimer;
function flash(message) {
  clearTimeout(flashTimer);
  const region = document.getElementById("flash");
  region.replaceChildren(h("p", {}, message));
  flashTimer = setTimeout(() => region.replaceChildren(), FLASH_MS);
}

/** Says that the server is gone, asks until it is back, then brings the view up to date. */
function watchConnection() {
  const banner = document.getElementById("connection-lost");
  let retry;
  onReachability((reachable) => {
    clearInterval(retry);
    if (reachable) {
      banner.replaceChildren();
      flash("Connected again.");
      current?.view.refresh?.();
      return;
    }
    const seconds = RECONNECT_MS / 1000;
    banner.replaceChildren(
      h("p", {}, h("strong", {}, "Connection lost."), ` The server does not answer. What you see may be out of date; trying again every ${seconds} s.`),
    );
    retry = setInterval(() => api.health().catch(() => {}), RECONNECT_MS);
  });
}

function watchHealth() {
  const line = document.getElementById("health");
  every(HEALTH_MS, async (signal) => {
    const health = await api.health({ signal }).catch((error) => error);
    if (health instanceof Error) {
      if (health.kind === "aborted") return;
      const status = health.body?.status ?? "state unknown";
      patch(line, h("span", { class: "health health-bad" }, `Server: ${status}`), h("span", {}, health.message));
      return;
    }
    const good = health.status === "healthy";
    patch(
      line,
      h("span", { class: good ? "health health-good" : "health health-bad" }, `Server: ${health.status}`),
      health.version && h("span", {}, `Job Scheduler ${health.version}`),
      health.workers && h("span", {}, `${count(health.workers.running)} of ${count(health.workers.concurrency)} workers busy`),
      health.plugins?.broken > 0 && h("a", { class: "health-bad", href: href("plugins") }, `${plural(health.plugins.broken, "plugin")} broken`),
      health.notifications?.status === "unhealthy" && h("a", { class: "health-bad", href: href("notifications") }, "Notifications do not get through"),
    );
  });
}
