// Client-side routing with the history API, below the path at which the host serves the dashboard.
//
// `href` creates links, `navigate` opens a page, `startRouter` listens. The history entry stores
// the scroll position, so that Back returns to the same row of a long list.

const BASE = new URL(document.baseURI).pathname.replace(/\/+$/, "");
const SCROLL_SETTLE_MS = 200;

/** Shows the page of the current address. @type {(arrival: Arrival, scrollTo: number) => void} */
let showCurrent = () => {};
/** @type {number | undefined} */
let scrollTimer;

/**
 * Returns the address of a dashboard page, such as `href("new", { plugin: "noop" })`.
 *
 * @param {string} [path]
 * @param {Record<string, string>} [query]
 */
export function href(path = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const search = new URLSearchParams(given).toString();
  const pathname = path ? `${BASE}/${path}` : BASE || "/";
  return search ? `${pathname}?${search}` : pathname;
}

/** @param {string} id */
export function jobHref(id) {
  return href(`jobs/${encodeURIComponent(id)}`);
}

/** Opens an address made by `href`. @param {string} address */
export function navigate(address) {
  rememberScroll();
  history.pushState({}, "", address);
  showCurrent("push", 0);
}

/**
 * Replaces the address, for reload and sharing, without leaving the view.
 *
 * @param {string} address
 */
export function replaceAddress(address) {
  history.replaceState(history.state, "", address);
}

/** @param {RouterOptions} options */
export function startRouter({ routes, fallback, show }) {
  showCurrent = (arrival, scrollTo) => show(match(routes, fallback), arrival, scrollTo);
  history.scrollRestoration = "manual";

  window.addEventListener("popstate", () => {
    clearTimeout(scrollTimer);
    showCurrent("back", history.state?.scroll ?? 0);
  });
  window.addEventListener(
    "scroll",
    () => {
      clearTimeout(scrollTimer);
      scrollTimer = setTimeout(rememberScroll, SCROLL_SETTLE_MS);
    },
    { passive: true },
  );
  document.addEventListener("click", followLink);

  showCurrent("load", history.state?.scroll ?? 0);
}

function rememberScroll() {
  clearTimeout(scrollTimer);
  history.replaceState({ ...history.state, scroll: window.scrollY }, "");
}

/** @param {Route[]} routes @param {Route} fallback @returns {Match} */
function match(routes, fallback) {
  const path = pathBelowBase(location.pathname);
  const query = new URLSearchParams(location.search);
  for (const route of routes) {
    const params = matchPath(route.path, path);
    if (params) return { route, path, params, query };
  }
  return { route: fallback, path, params: {}, query };
}

/**
 * Returns the values of the `:name` parts, or null.
 *
 * @param {string} pattern
 * @param {string} path
 */
function matchPath(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  /** @type {Record<string, string>} */
  const params = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) {
      if (!given[index]) return null;
      params[part.slice(1)] = decode(given[index]);
    } else if (part !== given[index]) {
      return null;
    }
  }
  return params;
}

/** @param {string} pathname */
function pathBelowBase(pathname) {
  return pathname.slice(BASE.length).replace(/^\/+|\/+$/g, "");
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Turns a plain click on a dashboard link into a route change; the browser handles all other
 * clicks.
 *
 * @param {MouseEvent} event
 */
function followLink(event) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  /** @type {HTMLAnchorElement?} */
  const anchor = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!anchor || anchor.target || anchor.hasAttribute("download")) return;
  const url = new URL(anchor.href);
  const ours =
    url.origin === location.origin &&
    (url.pathname === BASE || url.pathname.startsWith(`${BASE}/`));
  const isFile = url.pathname.startsWith(`${BASE}/static/`);
  if (!ours || isFile) return;
  event.preventDefault();
  if (url.href === location.href) return;
  navigate(url.pathname + url.search);
}
