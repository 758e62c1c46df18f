// The connection profiles. The server only reports which secrets are set. The answers to a device's
// questions can be edited here, and its host keys can be trusted.

import { may } from "../account.js";
import { api } from "../api.js";
import { button, h, patch, uniqueId } from "../dom.js";
import { plural, shorten } from "../format.js";
import { href } from "../router.js";
import { answersDialog } from "../components/answers.js";
import { confirmDialog } from "../components/dialog.js";
import { createRefresher, emptyBox, listView, showError } from "../components/refresher.js";
import { createPages, createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 30_000;
const PAGE_SIZE = 100;

/**
 * `edit` and `showHostKeys` are called with the event of a button that has the connection's id.
 *
 * @type {(edit: OnClick, showHostKeys: OnClick) => Column<Connection>[]}
 */
const columns = (edit, showHostKeys) => [
  {
    label: "Name",
    render: ({ name }) =>
      h(
        "a",
        {
          class: "job-link",
          href: href("", { target: name }),
          title: `Jobs on ${name}`,
        },
        name,
      ),
    header: true,
  },
  {
    label: "Address",
    render: ({ host, port, jump }) => [
      h("code", {}, address(host, port)),
      jump.length > 0 && h("div", { class: "muted" }, "through ", jump.join(", ")),
    ],
  },
  { label: "User", render: ({ username }) => username },
  {
    label: "Platform",
    render: ({ device_type: platform, algorithms }) => [
      platform,
      algorithms === "legacy" && [" ", h("span", { class: "tag" }, "legacy algorithms")],
    ],
  },
  {
    label: "Secrets set",
    render: ({ secrets_set: secrets, agent }) =>
      [...secrets, ...(agent ? ["ssh-agent"] : [])].join(", ") || "None",
  },
  {
    label: "Pinned host key",
    render: ({ id, name, host_key: key }) => [
      key ? h("code", { title: key }, shorten(key, 28)) : "None",
      " ",
      button(
        {
          class: "button button-small",
          "data-connection": id,
          "aria-label": `Host keys of ${name}`,
          onClick: showHostKeys,
        },
        "Host keys",
      ),
    ],
  },
  {
    label: "Timeout",
    render: ({ timeout_seconds: seconds }) => `${seconds} s`,
  },
  {
    label: "Tags",
    render: ({ tags }) => tags.map((tag) => h("span", { class: "tag" }, tag)),
  },
  {
    label: "Answers",
    render({ id, name, answers }) {
      const words = answers.length > 0 ? `${answers.length} set` : "None";
      if (!may("connections.write")) return words;
      return button(
        {
          class: "button button-small",
          "data-connection": id,
          "aria-label": `Answers for ${name}`,
          onClick: edit,
        },
        words,
      );
    },
  },
  { label: "Changed", render: ({ updated_at: at }) => relativeTime(at) },
];

/** @type {CreateView} */
export function connectionsView({ query, signal }) {
  let cursor = query.get("cursor") ?? "";
  const table = createTable({
    caption: "Connections",
    columns: columns(editAnswers, showHostKeys),
    keyOf: ({ id }) => id,
  });
  const empty = h("div");
  const problem = h("div", { role: "alert" });
  const pages = createPages("connections");
  const content = h("div", {}, table.element, empty, pages.element);
  const refresher = createRefresher({
    what: "the connections",
    content,
    load,
    pause: () => REFRESH_MS,
    signal,
  });

  const note =
    may("connections.write") &&
    h(
      "p",
      { class: "view-note muted" },
      "To add one, use ",
      h("code", {}, "scheduler connection add"),
      " or ",
      h("code", {}, "POST /api/connections"),
      ". Secrets are sealed when they are stored and never shown again.",
    );
  return {
    ...listView("Connections", refresher, note, problem),
    update(newQuery) {
      cursor = newQuery.get("cursor") ?? "";
      refresher.reset();
    },
  };

  /** @type {OnClick} */
  function editAnswers(event) {
    return open(event, answersDialog);
  }

  /** @type {OnClick} */
  function showHostKeys(event) {
    return open(event, hostKeysDialog);
  }

  /**
   * Opens a dialog that resolves to whether it has changed the connection.
   *
   * @param {ButtonClick} event
   * @param {typeof answersDialog} dialog
   */
  async function open(event, dialog) {
    const { connection: id = "" } = event.currentTarget.dataset;
    patch(problem);
    try {
      const saved = await dialog(await api.connection(id, { signal }), signal);
      if (saved) refresher.update();
    } catch (error) {
      showError(problem, error);
    }
  }

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const page = await api.listConnections({ cursor, limit: PAGE_SIZE }, { signal: turnSignal });
    const { connections } = page;
    pages.update(cursor, page.next_cursor);
    table.update(connections);
    patch(
      empty,
      connections.length === 0 &&
        !cursor &&
        emptyBox(
          "No connections yet.",
          h("p", {}, "A job reaches devices only through a connection."),
        ),
    );
    return `${plural(connections.length, "connection")}.`;
  }
}

/**
 * Returns host and port; IPv6 addresses need brackets.
 *
 * @param {string} host
 * @param {number} port
 */
function address(host, port) {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Opens the dialog for the host keys of a connection: shows the known keys, and trusts a new one for a
 * device that was replaced if the user may. Resolves to true if a key was trusted.
 *
 * @param {Connection} connection
 * @param {AbortSignal} signal
 */
async function hostKeysDialog({ id, name }, signal) {
  const mayTrust = may("connections.trust");
  const { pinned, host_keys: known } = await api.hostKeys(id, { signal });
  const inputId = uniqueId("host-key");
  const input = h("input", {
    id: inputId,
    type: "text",
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "SHA256:…",
  });
  const body = [
    h(
      "p",
      {},
      pinned
        ? ["Only this host key is accepted: ", h("code", {}, pinned)]
        : "No host key is pinned.",
    ),
    h("p", {}, known.length > 0 ? "Known host keys:" : "No host key is known."),
    known.length > 0 &&
      h(
        "ul",
        {},
        known.map(({ algorithm, fingerprint }) =>
          h("li", {}, algorithm, " ", h("code", {}, fingerprint)),
        ),
      ),
    mayTrust &&
      h(
        "p",
        {},
        "If the device was replaced, compare the new key's fingerprint with the one on the device's console. The stored secrets are sent only to the device with this key.",
      ),
    mayTrust &&
      h(
        "div",
        { class: "answer-field" },
        h("label", { for: inputId }, "Fingerprint or public key"),
        input,
      ),
  ];
  return confirmDialog({
    title: `Host keys of ${name}`,
    body,
    confirm: mayTrust ? "Trust this key" : undefined,
    confirming: "Saving…",
    dismiss: "Close",
    action: () => api.trustHostKey(id, input.value.trim()),
    signal,
  });
}
