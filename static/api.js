// The host's public HTTP API, one function per call. Only this module uses `fetch`.
//
// Every failure is an `ApiError` with a `kind`:
//   problem      the server refused the request with a reason (application/problem+json)
//   http         an error status without a problem document, for example from a proxy
//   malformed    a success with an invalid body
//   network      no response          timeout   no response in time
//   aborted      the request was cancelled because the user left the view: nothing to show
//   defect       an error of the dashboard itself

import { parseJson } from "./json.js";

/** @type {HTMLMetaElement | null} */
const API_BASE = document.querySelector('meta[name="api-base"]');
const BASE = (API_BASE?.content ?? "").replace(/\/+$/, "");
const TIMEOUT_MS = 15_000;

/** @type {Api} */
export const api = {
  /** An unhealthy server responds with an error status and its state. */
  health: (options) =>
    get("/health", {}, options).catch((error) =>
      error.body?.storage ? error.body : Promise.reject(error),
    ),

  me: () => get("/me", {}),
  logIn: (login) => request("POST", "/login", { body: login }),
  logOut: () => request("POST", "/logout"),
  setUp: (setup) => request("POST", "/setup", { body: setup }),
  changePassword: (passwords) => request("PUT", "/me/password", { body: passwords }),

  listSessions: (user, options) => get("/sessions", { user }, options),
  endSession: (id, user) => request("DELETE", `/sessions/${segment(id)}`, { query: { user } }),
  listTokens: (user, options) => get("/tokens", { user }, options),
  createToken: (token) => request("POST", "/tokens", { body: token }),
  revokeToken: (id, user) => request("DELETE", `/tokens/${segment(id)}`, { query: { user } }),

  listUsers: (options) => get("/users", {}, options),
  user: (name, options) => get(`/users/${segment(name)}`, {}, options),
  createUser: (user) => request("POST", "/users", { body: user }),
  replaceUser: (name, user) => request("PUT", `/users/${segment(name)}`, { body: user }),
  deleteUser: (name) => request("DELETE", `/users/${segment(name)}`),

  listJobs: (filter, options) => get("/jobs", filter, options),
  jobStats: (options) => get("/jobs/stats", {}, options),
  job: (id, options) => get(`/jobs/${segment(id)}`, {}, options),
  jobResults: (id, filter, options) => get(`/jobs/${segment(id)}/results`, filter, options),
  jobLogs: (id, filter, options) => get(`/jobs/${segment(id)}/logs`, filter, options),
  /** A job's events without texts, as an EventSource, which reconnects automatically. */
  followJob: (id) => new EventSource(`${BASE}/jobs/${segment(id)}/events?texts=false`),
  submitJob: (job, idempotencyKey) =>
    request("POST", "/jobs", {
      body: job,
      headers: { "Idempotency-Key": idempotencyKey },
    }),
  cancelJob: (id) => request("POST", `/jobs/${segment(id)}/cancel`),
  rerunJob: (id, only) => request("POST", `/jobs/${segment(id)}/rerun`, { body: { only } }),
  deleteJob: (id) => request("DELETE", `/jobs/${segment(id)}`),

  listSchedules: (page, options) => get("/schedules", page, options),
  enableSchedule: (id) => request("POST", `/schedules/${segment(id)}/enable`),
  disableSchedule: (id) => request("POST", `/schedules/${segment(id)}/disable`),
  triggerSchedule: (id) => request("POST", `/schedules/${segment(id)}/trigger`),

  listPauses: (options) => getAll("/pauses", "pauses", options),
  createPause: (pause) => request("POST", "/pauses", { body: pause }),
  replacePause: (id, pause) => request("PUT", `/pauses/${segment(id)}`, { body: pause }),
  endPause: (id) => request("POST", `/pauses/${segment(id)}/end`),
  deletePause: (id) => request("DELETE", `/pauses/${segment(id)}`),

  listNotifications: (options) => get("/notifications", {}, options),
  testChannel: (channel) => request("POST", "/notifications/test", { body: { channel } }),

  listPlugins: (options) => getAll("/plugins", "plugins", options),
  plugin: (name, options) => get(`/plugins/${segment(name)}`, {}, options),
  pluginVersions: (name, options) => get(`/plugins/${segment(name)}/versions`, {}, options),
  listConnections: (page, options) => get("/connections", page, options),
  allConnections: (options) => getAll("/connections", "connections", options),
  connection: (id, options) => get(`/connections/${segment(id)}`, {}, options),
  hostKeys: (id, options) => get(`/connections/${segment(id)}/host-keys`, {}, options),
  trustHostKey: (id, fingerprint) =>
    request("POST", `/connections/${segment(id)}/host-keys`, {
      body: { fingerprint },
    }),
  replaceConnection: (id, connection) =>
    request("PUT", `/connections/${segment(id)}`, { body: connection }),
};

export class ApiError extends Error {
  /**
   * @param {ErrorKind} kind
   * @param {string} message
   * @param {{ status?: number, errors?: Problem[], body?: unknown }} [answer]
   */
  constructor(kind, message, { status, errors = [], body } = {}) {
    super(message);
    this.name = "ApiError";
    this.kind = kind;
    this.status = status;
    this.errors = errors;
    this.body = body;
  }
}

/** Returns a caught error as an `ApiError`. @param {unknown} error */
export function asApiError(error) {
  if (error instanceof ApiError) return error;
  console.error(error);
  return new ApiError("defect", error instanceof Error ? error.message : String(error));
}

/**
 * Calls `listener` whenever the server becomes unreachable or reachable again.
 *
 * @param {(reachable: boolean) => void} listener
 */
export function onReachability(listener) {
  reachabilityListeners.push(listener);
}

/**
 * Calls `listener` when the server rejects a request because the login has ended.
 *
 * @param {() => void} listener
 */
export function onLoggedOut(listener) {
  loggedOutListeners.push(listener);
}

/**
 * Returns the time of the server's clock, which job times refer to: the local clock may be minutes
 * off.
 */
export function serverNow() {
  return Date.now() + clockOffsetMs;
}

/**
 * Returns a key that makes a repeated POST harmless. Does not use `crypto.randomUUID`, which
 * browsers offer only over HTTPS: many hosts are plain HTTP on a management LAN.
 */
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

// ---- requests ---------------------------------------------------------------------------

/** @type {((reachable: boolean) => void)[]} */
const reachabilityListeners = [];
/** @type {(() => void)[]} */
const loggedOutListeners = [];
let reachable = true;
let clockOffsetMs = 0;

/** @param {string} path @param {Query} query @param {RequestOptions} [options] */
function get(path, query, options = {}) {
  return request("GET", path, { query, ...options });
}

/**
 * Returns all pages of a list as one: `{ [field]: entries }`.
 *
 * @param {string} path
 * @param {string} field
 * @param {RequestOptions} [options]
 * @returns {Promise<any>}
 */
async function getAll(path, field, options) {
  const entries = [];
  let cursor;
  do {
    const page = await get(path, { cursor }, options);
    entries.push(...page[field]);
    cursor = page.next_cursor;
  } while (cursor);
  return { [field]: entries };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {RequestOptions & { query?: Query, body?: unknown, headers?: object }} [options]
 */
async function request(method, path, { query = {}, body, headers = {}, signal } = {}) {
  const url = new URL(BASE + path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "")
      url.searchParams.set(name, String(value));
  }

  const controller = new AbortController();
  const giveUp = () => controller.abort();
  if (signal?.aborted) giveUp();
  signal?.addEventListener("abort", giveUp);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    giveUp();
  }, TIMEOUT_MS);

  try {
    const response = await fetch(url, {
      method,
      signal: controller.signal,
      cache: "no-store",
      headers: {
        Accept: "application/json, application/problem+json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    setReachable(true);
    noteClock(response);
    if (response.status === 401 && path !== "/login") {
      for (const listener of loggedOutListeners) listener();
    }
    return read(response, text);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (signal?.aborted) throw new ApiError("aborted", "The request was cancelled.");
    setReachable(false);
    throw timedOut
      ? new ApiError(
          "timeout",
          `Timeout: the server did not respond within ${TIMEOUT_MS / 1000} s.`,
        )
      : new ApiError("network", "The server is unreachable.");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

/**
 * Returns what the server sent, which the types of `Api` describe.
 *
 * @param {Response} response
 * @param {string} text
 */
function read(response, text) {
  if (response.ok) {
    if (text === "") return null;
    try {
      return parseJson(text);
    } catch {
      throw new ApiError("malformed", "The server sent a response that is not JSON.", {
        status: response.status,
      });
    }
  }
  const answered = `The server responded with ${response.status} ${response.statusText}`.trim();
  let body = null;
  try {
    body = parseJson(text);
  } catch {
    // A proxy's HTML page: only the status is usable.
  }
  const isProblem = body !== null && typeof body === "object" && (body.title || body.detail);
  if (!isProblem)
    throw new ApiError("http", `${answered}.`, {
      status: response.status,
      body,
    });
  throw new ApiError("problem", body.detail || body.title, {
    status: response.status,
    errors: Array.isArray(body.errors) ? body.errors : [],
    body,
  });
}

/** @param {boolean} now */
function setReachable(now) {
  if (now === reachable) return;
  reachable = now;
  for (const listener of reachabilityListeners) listener(now);
}

/**
 * Updates the clock offset. The `Date` header has whole seconds, so offsets below 2 s are ignored.
 *
 * @param {Response} response
 */
function noteClock(response) {
  const server = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isNaN(server)) return;
  const offset = server - Date.now();
  clockOffsetMs = Math.abs(offset) < 2_000 ? 0 : offset;
}

/** @param {string} value */
function segment(value) {
  return encodeURIComponent(value);
}
