// One user: role and permissions, sessions and tokens; change, delete.

import { may } from "../account.js";
import { api } from "../api.js";
import { button, h, patch } from "../dom.js";
import { href, navigate, replaceAddress } from "../router.js";
import { createCredentials } from "../components/credentials.js";
import { confirmDialog } from "../components/dialog.js";
import { PERMISSIONS, permissionList, ROLES } from "../components/permissions.js";
import { createRefresher, emptyBox, showError } from "../components/refresher.js";
import { fullTime } from "../components/time.js";
import { KINDS, userDialog, userHref } from "./users/dialog.js";

/** @type {CreateView} */
export function userView({ params: { name }, signal, flash, setTitle }) {
  /** @type {User?} */
  let user = null;
  /** @type {ReturnType<typeof createCredentials>?} */
  let credentials = null;

  const heading = h("h1", { tabindex: "-1" }, name);
  const problem = h("div", { role: "alert" });
  const facts = h("dl", { class: "facts" });
  const extra = h("div");
  const credentialsBox = h("div");
  const content = h(
    "div",
    {},
    may("users.write") &&
      h(
        "div",
        { class: "actions actions-row" },
        button({ onClick: change }, "Change…"),
        button({ class: "button button-danger-quiet", onClick: remove }, "Delete…"),
      ),
    problem,
    facts,
    extra,
    credentialsBox,
  );
  const refresher = createRefresher({
    what: "the user",
    content,
    load,
    signal,
    missing: () =>
      emptyBox("User not found.", h("p", {}, h("a", { href: href("users") }, "Go to the users"))),
  });
  return {
    title: name,
    element: h(
      "div",
      {},
      h(
        "nav",
        { class: "crumbs", "aria-label": "Breadcrumbs" },
        h("a", { href: href("users") }, "Users"),
      ),
      h("div", { class: "view-head" }, heading, refresher.controls),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
  };

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const options = { signal: turnSignal };
    show(await api.user(name, options));
    await credentials?.load(options);
  }

  /** @param {User} now */
  function show(now) {
    // Its actions are about a name, which a change may have replaced.
    if (now.name !== user?.name) {
      credentials = createCredentials({
        user: now.name,
        writable: may("users.write"),
        permissions: PERMISSIONS,
        logsIn: now.kind === "person",
        signal,
      });
      patch(credentialsBox, credentials.element);
    }
    user = now;
    patch(heading, now.name, now.disabled && [" ", h("span", { class: "tag" }, "disabled")]);
    patch(
      facts,
      fact("Kind", KINDS[now.kind]),
      fact("Role", `${now.role}: ${ROLES[now.role]}`),
      fact("Created", fullTime(now.created_at)),
      fact("Changed", fullTime(now.updated_at)),
      now.kind === "person" && [
        fact("Last login", now.last_login_at ? fullTime(now.last_login_at) : "Never"),
        fact("Password changed", fullTime(now.password_changed_at)),
      ],
    );
    patch(
      extra,
      now.permissions.length > 0 &&
        h(
          "section",
          { class: "section" },
          h("h2", {}, "Permissions beyond the role"),
          permissionList(now.permissions),
        ),
    );
  }

  async function change() {
    patch(problem);
    let changed;
    try {
      // Loads the current version: it may have changed since the page was loaded.
      changed = await userDialog(await api.user(name, { signal }), signal);
    } catch (error) {
      showError(problem, error);
    }
    if (!changed || signal.aborted) return;
    flash(`${changed.name} was changed.`);
    if (changed.name !== name) {
      name = changed.name;
      replaceAddress(userHref(name));
      setTitle(name);
    }
    await refresher.refresh();
  }

  async function remove() {
    if (!user) return;
    const { name } = user;
    const deleted = await confirmDialog({
      title: `Delete ${name}?`,
      body: h(
        "p",
        {},
        "The user's sessions and tokens end. The user's jobs are kept; schedules of the user submit no jobs until another user replaces them. This cannot be undone.",
      ),
      confirm: "Delete user",
      confirming: "Deleting…",
      action: () => api.deleteUser(name),
      signal,
    });
    if (!deleted || signal.aborted) return;
    flash(`${name} was deleted.`);
    navigate(href("users"));
  }
}

/** @param {string} name @param {Child} value */
function fact(name, value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}
