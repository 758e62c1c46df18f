// The sessions and API tokens of a user.

import { api, serverNow } from "../api.js";
import { button, h, patch, setText } from "../dom.js";
import { shorten } from "../format.js";
import { confirmDialog } from "./dialog.js";
import { formDialog, textInput } from "./entry-form.js";
import { createField } from "./field.js";
import { permissionPicker } from "./permissions.js";
import { showError } from "./refresher.js";
import { createTable } from "./table.js";
import { relativeTime } from "./time.js";

const DAY_MS = 86_400_000;
const DAYS = [1, 7, 30, 90, 180, 365];
const DEFAULT_DAYS = 90;

/** Returns `element` and `load(options)`. @param {CredentialsOptions} options */
export function createCredentials({ user, writable, permissions, logsIn, signal }) {
  /** @type {Column<Session>[]} */
  const sessionColumns = [
    {
      label: "Browser",
      render: ({ client, current }) => [
        current && h("span", { class: "tag" }, "this session"),
        h("span", { title: client ?? "" }, browserName(client)),
      ],
      header: true,
    },
    { label: "Address", render: ({ address }) => address ?? "–" },
    { label: "Logged in", render: ({ created_at: at }) => relativeTime(at) },
    { label: "Last used", render: ({ last_used_at: at }) => relativeTime(at) },
    { label: "Ends", render: ({ expires_at: at }) => relativeTime(at) },
  ];
  /** @type {Column<Token>[]} */
  const tokenColumns = [
    { label: "Name", render: ({ name }) => name, header: true },
    {
      label: "Permissions",
      render: ({ permissions: limit }) => limit?.join(", ") ?? "All of its user",
    },
    { label: "Created", render: ({ created_at: at }) => relativeTime(at) },
    { label: "Expires", render: ({ expires_at: at }) => relativeTime(at) },
    {
      label: "Last used",
      render: ({ last_used_at: at, last_address: address }) =>
        at ? [relativeTime(at), address && h("div", { class: "job-note" }, address)] : "Never",
    },
  ];
  if (writable) {
    sessionColumns.push({
      label: "Actions",
      render: ({ id, current, client, created_at: at }) =>
        !current &&
        small(
          "End",
          `End the session of ${browserName(client)} since ${at}`,
          { "data-id": id },
          askToEnd,
        ),
    });
    tokenColumns.push({
      label: "Actions",
      render: ({ id, name }) =>
        small("Revoke…", `Revoke token ${name}`, { "data-id": id, "data-name": name }, askToRevoke),
    });
  }

  const sessions = createTable({
    caption: "Sessions",
    columns: sessionColumns,
    keyOf: ({ id }) => id,
  });
  const tokens = createTable({
    caption: "API tokens",
    columns: tokenColumns,
    keyOf: ({ id }) => id,
  });
  const noSession = h("p", { class: "muted" });
  const noToken = h("p", { class: "muted" });
  const problem = h("div", { role: "alert" });
  const created = h("div");

  return {
    element: h(
      "div",
      {},
      problem,
      logsIn &&
        h("section", { class: "section" }, h("h2", {}, "Sessions"), sessions.element, noSession),
      h(
        "section",
        { class: "section" },
        h("h2", {}, "API tokens"),
        created,
        tokens.element,
        noToken,
        writable &&
          h("p", { class: "token-actions" }, button({ onClick: create }, "Create a token…")),
      ),
    ),
    load,
  };

  /** @param {RequestOptions} options */
  async function load(options) {
    const [sessionList, tokenList] = await Promise.all([
      api.listSessions(user, options),
      api.listTokens(user, options),
    ]);
    sessions.update(sessionList.sessions);
    setText(noSession, sessionList.sessions.length === 0 ? "Not logged in." : "");
    tokens.update(tokenList.tokens);
    setText(noToken, tokenList.tokens.length === 0 ? "No tokens." : "");
  }

  async function reload() {
    if (signal.aborted) return;
    patch(problem);
    await load({ signal }).catch((error) => showError(problem, error));
  }

  /** @param {ButtonClick} event */
  async function askToEnd({ currentTarget: { dataset } }) {
    const { id = "" } = dataset;
    await confirmDialog({
      title: "End this session?",
      body: h("p", {}, "The browser has to log in again."),
      confirm: "End session",
      confirming: "Ending…",
      action: () => api.endSession(id, user),
      signal,
    });
    await reload();
  }

  /** @param {ButtonClick} event */
  async function askToRevoke({ currentTarget: { dataset } }) {
    const { id = "", name = "" } = dataset;
    await confirmDialog({
      title: `Revoke token ${name}?`,
      body: h("p", {}, "Programs that use it are rejected from now on. This cannot be undone."),
      confirm: "Revoke token",
      confirming: "Revoking…",
      action: () => api.revokeToken(id, user),
      signal,
    });
    await reload();
  }

  async function create() {
    const name = textInput();
    const days = h(
      "select",
      {},
      DAYS.map((number) =>
        h(
          "option",
          { value: number, selected: number === DEFAULT_DAYS },
          number === 1 ? "1 day" : `${number} days`,
        ),
      ),
    );
    const limit = permissionPicker(permissions);
    const token = await formDialog({
      title: user ? `Create a token of ${user}` : "Create a token",
      action: "Create",
      fields: {
        "/name": createField({
          label: "Name",
          hint: "The program that uses it, in letters, digits, - _ and .",
          required: true,
          control: name,
        }),
        "/expires_at": createField({ label: "Expires after", control: days }),
        "/permissions": createField({
          label: "Limited to",
          hint: "If nothing is selected, the token allows everything that its user may do.",
          group: true,
          control: limit.control,
        }),
      },
      send() {
        const chosen = limit.read();
        return api.createToken({
          name: name.value.trim(),
          user,
          permissions: chosen.length > 0 ? chosen : undefined,
          expires_at: new Date(serverNow() + Number(days.value) * DAY_MS).toISOString(),
        });
      },
      signal,
    });
    if (!token || signal.aborted) return;
    showToken(token);
    await reload();
  }

  /** @param {Token} token */
  function showToken({ name, token }) {
    const text = token ?? "";
    const value = h("input", {
      type: "text",
      class: "token",
      readonly: true,
      "aria-label": `Token ${name}`,
      value: text,
    });
    const said = h("span", { role: "status" });
    const copy = button({ class: "button button-primary", onClick: copyToken }, "Copy");
    async function copyToken() {
      value.select();
      setText(said, (await copied(text)) ? "Copied." : "Copy it with Ctrl+C.");
    }
    const done = button({ onClick: () => patch(created) }, "Done");
    patch(
      created,
      h(
        "div",
        { class: "notice notice-warning" },
        h(
          "p",
          {},
          h("strong", {}, `Store the token ${name} now.`),
          " It is shown only once and cannot be read again.",
        ),
        value,
        h("div", { class: "actions-row" }, copy, done, said),
      ),
    );
    copy.focus();
  }
}

/**
 * Copies the selected text. Browsers offer their clipboard only over HTTPS; the old command works
 * everywhere.
 *
 * @param {string} text
 */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return document.execCommand("copy");
  }
}

/**
 * @param {string} text
 * @param {string} label
 * @param {Attributes} attributes
 * @param {OnClick} onClick
 */
function small(text, label, attributes, onClick) {
  return button(
    { class: "button button-small", "aria-label": label, onClick, ...attributes },
    text,
  );
}

/** "Firefox 130 on Linux", or the start of an unknown `User-Agent`. @param {string?} [agent] */
function browserName(agent) {
  if (!agent) return "Unknown";
  const [, name, version] = /(Edg|OPR|Firefox|Chrome|Version)\/(\d+)/.exec(agent) ?? [];
  const system = /Windows|Android|iPhone|iPad|Mac OS|Linux/.exec(agent)?.[0];
  if (!name) return shorten(agent, 40);
  const brand = { Edg: "Edge", OPR: "Opera", Version: "Safari" }[name] ?? name;
  return [brand, version, system && `on ${system}`].filter(Boolean).join(" ");
}
