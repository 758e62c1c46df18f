// The dashboard's entry point: the routes to the views, and the shell around the views (navigation,
// connection banner, flash messages, health line).
//
// A view is a function from `ViewContext` to `View`, which xtask/dashboard/types.d.ts describes.

import { currentUser, isUserKnown, loadUser, logOut, may } from "./account.js";
import { api, asApiError, onLoggedOut, onReachability } from "./api.js";
import { button, h, patch } from "./dom.js";
import { count, plural } from "./format.js";
import { every } from "./poll.js";
import { href, replaceAddress, startRouter } from "./router.js";
import { emptyBox } from "./components/refresher.js";
import { startClock } from "./components/time.js";
import { jobsView } from "./views/jobs.js";

// All views except the first page are loaded on demand.
/** @type {Route[]} */
const ROUTES = [
  { path: "", section: "jobs", view: async () => jobsView },
  { path: "jobs", section: "jobs", view: async () => jobsView },
  {
    path: "jobs/:id",
    section: "jobs",
    view: async () => (await import("./views/job.js")).jobView,
  },
  {
    path: "new",
    section: "new",
    permission: "jobs.submit",
    view: async () => (await import("./views/submit.js")).submitView,
  },
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
  {
    path: "users",
    section: "users",
    permission: "users.read",
    ofUsers: true,
    view: async () => (await import("./views/users.js")).usersView,
  },
  {
    path: "users/:name",
    section: "users",
    permission: "users.read",
    ofUsers: true,
    view: async () => (await import("./views/user.js")).userView,
  },
  {
    path: "account",
    section: "account",
    ofUsers: true,
    view: async () => (await import("./views/account.js")).accountView,
  },
];

const RECONNECT_MS = 5_000;
const HEALTH_MS = 5_000;
const FLASH_MS = 8_000;

const main = part("main");
/**
 * The page that is shown; its view is null until it is loaded.
 *
 * @type {{ route: Route, path: string, view: View?, controller: AbortController }?}
 */
let current = null;

linkNavigation();
begin();

// ---- the user ----------------------------------------------------------------------------

/** Starts the dashboard, or shows the login or the setup of the first user. */
async function begin() {
  // A link to the setup that is opened on the page of the setup does not load the page.
  window.addEventListener("hashchange", () => isSetup() && location.reload());
  const code = setupCode();
  if (code !== null) {
    showForm("Setup", (forms) => forms.setupForm(code, () => location.assign(href())));
    return;
  }
  try {
    await loadUser();
  } catch (caught) {
    if (asApiError(caught).status === 401) {
      // The address stays, so the wanted page opens after the login.
      showForm("Log in", (forms) => forms.loginForm(() => location.reload()));
      return;
    }
    // The views show that the server does not respond.
  }
  showUser();
  onLoggedOut(() => location.reload());
  startClock();
  startRouter({
    routes: ROUTES,
    fallback: { path: "", section: null, view: async () => notFoundView },
    show,
  });
  watchConnection();
  watchHealth();
}

/** Returns the code in a link to the setup, and removes it from the address. */
function setupCode() {
  const code = location.hash.slice(1);
  if (!isSetup() || code === "") return null;
  replaceAddress(href("setup"));
  return code;
}

function isSetup() {
  return location.pathname === href("setup");
}

/** @param {string} title @param {(forms: typeof import("./views/login.js")) => HTMLElement} create */
async function showForm(title, create) {
  setTitle(title);
  const element = await import("./views/login.js").then(create, () => unloadedView().element);
  main.replaceChildren(element);
  element.querySelector("input")?.focus();
}

/** Shows the sections that the user may open, and the user's name. */
function showUser() {
  for (const route of ROUTES) {
    if (!isAllowed(route)) document.querySelector(`a[data-section="${route.section}"]`)?.remove();
  }
  const user = currentUser();
  if (user) {
    part("skip").nextElementSibling?.append(
      h(
        "div",
        { class: "account sections" },
        h("a", { href: href("account"), "data-section": "account" }, user.name),
        button({ class: "button button-small", onClick: logOut }, "Log out"),
      ),
    );
  }
  document.body.classList.remove("logged-out");
}

/** @param {Route} route */
function isAllowed({ permission, ofUsers }) {
  return (!permission || may(permission)) && (!ofUsers || currentUser() !== null);
}

// ---- views -------------------------------------------------------------------------------

/** Shows the view of `match`. @type {RouterOptions["show"]} */
async function show(match, arrival, scrollTo) {
  if (current?.route === match.route && current.path === match.path && current.view?.update) {
    current.view.update(match.query);
    return;
  }
  current?.controller.abort();
  const controller = new AbortController();
  /** @type {NonNullable<typeof current>} */
  const entry = {
    route: match.route,
    path: match.path,
    view: null,
    controller,
  };
  current = entry;
  markSection(match.route.section);
  const createView = isAllowed(match.route)
    ? await match.route.view().catch(() => unloadedView)
    : deniedView(match.route);
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

/** @type {CreateView} */
function notFoundView() {
  return {
    title: "Not found",
    element: h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, "Not found"),
      emptyBox("This page does not exist.", h("p", {}, h("a", { href: href() }, "Go to the jobs"))),
    ),
  };
}

/** @param {Route} route @returns {CreateView} */
function deniedView({ permission, ofUsers }) {
  const reason =
    ofUsers && !currentUser()
      ? "There are no users, because authentication is off."
      : `You do not have the permission ${permission}.`;
  return () => ({
    title: "Not allowed",
    element: h("div", {}, h("h1", { tabindex: "-1" }, "Not allowed"), emptyBox(reason)),
  });
}

/** The server is unreachable, or was updated in the meantime. @returns {View} */
function unloadedView() {
  return {
    title: "Not loaded",
    element: h(
      "div",
      { class: "notice notice-error", role: "alert" },
      h("h1", { tabindex: "-1" }, "This page failed to load."),
      h("p", {}, "The server does not respond, or it was updated after the dashboard was opened."),
      button({ onClick: () => location.reload() }, "Reload the dashboard"),
    ),
  };
}

/** @param {string} title */
function setTitle(title) {
  document.title = title ? `${title} · Job Scheduler` : "Job Scheduler";
}

/** Returns an element of `index.html`. @param {string} id */
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

/** @param {string?} section */
function markSection(section) {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll("a[data-section]");
  for (const anchor of links) {
    if (anchor.dataset.section === section) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

/** @type {number | undefined} */
let flashTimer;
/** @param {string} message */
function flash(message) {
  clearTimeout(flashTimer);
  const region = part("flash");
  region.replaceChildren(h("p", {}, message));
  flashTimer = setTimeout(() => region.replaceChildren(), FLASH_MS);
}

/** Shows that the connection is lost, polls until the server responds, then refreshes the view. */
function watchConnection() {
  const banner = part("connection-lost");
  /** @type {number | undefined} */
  let retry;
  onReachability((reachable) => {
    clearInterval(retry);
    if (reachable) {
      if (!isUserKnown()) location.reload();
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
    try {
      const health = await api.health({ signal });
      patch(trouble, troubles(health));
      patch(line, healthLine(health));
    } catch (caught) {
      const { kind, message } = asApiError(caught);
      if (kind === "aborted") return;
      patch(
        line,
        h("span", { class: "health health-bad" }, "Server: state unknown"),
        h("span", {}, message),
      );
      // The other banner already shows that the server is unreachable.
      const isShown = kind === "network" || kind === "timeout";
      patch(
        trouble,
        !isShown &&
          h("p", {}, h("strong", {}, "The state of the server is unknown."), ` ${message}`),
      );
    }
  });
}

/** @param {Health} health */
function healthLine({ status, version, workers, notifications }) {
  const tone = status === "healthy" ? "health-good" : "health-bad";
  return [
    h("span", { class: `health ${tone}` }, `Server: ${status}`),
    h("span", {}, `Job Scheduler ${version}`),
    h("span", {}, `${count(workers.running)} of ${count(workers.concurrency)} workers busy`),
    notifications?.status === "unhealthy" &&
      h("a", { class: "health-bad", href: href("notifications") }, "Notifications fail"),
  ];
}

/** The problems in the server's state that the user must not overlook. @param {Health} health */
function troubles({ status, storage, queue, plugins: { broken, problems = [] } }) {
  const parts = [
    storage.status !== "healthy" && "its database does not respond",
    queue.status !== "healthy" && "its queue does not respond",
  ].filter(Boolean);
  return [
    storage.problem
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
    ...problems.map((problem) =>
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
