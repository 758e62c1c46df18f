// The users and service accounts.

import { may } from "../account.js";
import { api } from "../api.js";
import { button, h } from "../dom.js";
import { plural } from "../format.js";
import { navigate } from "../router.js";
import { createRefresher, listView } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";
import { KINDS, userDialog, userHref } from "./users/dialog.js";

const REFRESH_MS = 30_000;

/** @type {Column<User>[]} */
const COLUMNS = [
  {
    label: "Name",
    render: ({ name, disabled }) => [
      h("a", { class: "job-link", href: userHref(name) }, name),
      disabled && [" ", h("span", { class: "tag" }, "disabled")],
    ],
    header: true,
  },
  { label: "Kind", render: ({ kind }) => KINDS[kind] },
  { label: "Role", render: ({ role }) => role },
  { label: "Extra permissions", render: ({ permissions }) => permissions.join(", ") || "–" },
  { label: "Last login", render: ({ last_login_at: at }) => relativeTime(at) },
  { label: "Changed", render: ({ updated_at: at }) => relativeTime(at) },
];

/** @type {CreateView} */
export function usersView({ signal, flash }) {
  const table = createTable({ caption: "Users", columns: COLUMNS, keyOf: ({ id }) => id });
  const refresher = createRefresher({
    what: "the users",
    content: table.element,
    load,
    pause: () => REFRESH_MS,
    signal,
  });
  return listView(
    "Users",
    refresher,
    may("users.write") &&
      h(
        "p",
        { class: "view-note" },
        button({ class: "button button-primary", onClick: add }, "Add a user…"),
      ),
  );

  async function add() {
    const user = await userDialog(null, signal);
    if (!user || signal.aborted) return;
    flash(
      user.kind === "service"
        ? `${user.name} was added. Create a token for it.`
        : `${user.name} was added.`,
    );
    navigate(userHref(user.name));
  }

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const { users } = await api.listUsers({ signal: turnSignal });
    table.update(users);
    return `${plural(users.length, "user")}.`;
  }
}
