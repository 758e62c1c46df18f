// The connection profiles. The server only reports which secrets are set. The answers to a device's
// questions can be edited here, and its host keys can be trusted.

import { api } from "../api.js";
import { h, patch } from "../dom.js";
import { plural, shorten } from "../format.js";
import { href } from "../router.js";
import { answersDialog } from "../components/answers.js";
import { createPages } from "../components/pages.js";
import { hostKeysDialog } from "../components/host-keys.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 30_000;
const PAGE_SIZE = 100;

/** `edit` and `showHostKeys` are called with the event of a button that has the connection's id. */
const columns = (edit, showHostKeys) => [
  {
    label: "Name",
    render: ({ name }) =>
      h(
        "a",
        { class: "job-link", href: href("", { target: name }), title: `Jobs on ${name}` },
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
  { label: "User", render: ({ username }) => username ?? "–" },
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
      h(
        "button",
        {
          type: "button",
          class: "button button-small",
          "data-connection": id,
          "aria-label": `Host keys of ${name}`,
          onClick: showHostKeys,
        },
        "Host keys",
      ),
    ],
  },
  { label: "Timeout", render: ({ timeout_seconds: seconds }) => (seconds ? `${seconds} s` : "–") },
  {
    label: "Tags",
    render: ({ tags }) => (tags ?? []).map((tag) => h("span", { class: "tag" }, tag)),
  },
  {
    label: "Answers",
    render: ({ id, name, answers }) =>
      h(
        "button",
        {
          type: "button",
          class: "button button-small",
          "data-connection": id,
          "aria-label": `Answers for ${name}`,
          onClick: edit,
        },
        answers.length > 0 ? `${answers.length} set` : "None",
      ),
  },
  { label: "Changed", render: ({ updated_at: at }) => relativeTime(at) },
];

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

  return {
    title: "Connections",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Connections"),
        refresher.controls,
      ),
      h(
        "p",
        { class: "view-note muted" },
        "To add one, use ",
        h("code", {}, "scheduler connection add"),
        " or ",
        h("code", {}, "POST /api/connections"),
        ". Secrets are sealed when they are stored and never shown again.",
      ),
      problem,
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
    update(newQuery) {
      cursor = newQuery.get("cursor") ?? "";
      refresher.reset();
    },
  };

  function editAnswers(event) {
    return open(event, answersDialog);
  }

  function showHostKeys(event) {
    return open(event, hostKeysDialog);
  }

  /** Opens a dialog that resolves to whether it has changed the connection. */
  async function open(event, dialog) {
    const { connection: id } = event.currentTarget.dataset;
    patch(problem);
    try {
      const saved = await dialog(await api.connection(id, { signal }), { signal });
      if (saved) refresher.update();
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      if (error.kind !== "aborted")
        patch(problem, h("p", { class: "notice notice-error" }, error.message));
    }
  }

  async function load(turnSignal) {
    const page = await api.listConnections({ cursor, limit: PAGE_SIZE }, { signal: turnSignal });
    const { connections } = page;
    pages.update(cursor, page.next_cursor);
    table.update(connections);
    table.element.hidden = connections.length === 0;
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

/** Returns host and port; IPv6 addresses need brackets. */
function address(host, port) {
  return String(host).includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
