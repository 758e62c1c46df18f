// The user's own account: role and permissions, password, sessions, tokens, and the logout.

import { currentUser, logOut } from "../account.js";
import { api } from "../api.js";
import { button, h } from "../dom.js";
import { createCredentials } from "../components/credentials.js";
import { entryForm, newPassword, passwordInput } from "../components/entry-form.js";
import { createField } from "../components/field.js";
import { permissionList, ROLES } from "../components/permissions.js";
import { createRefresher } from "../components/refresher.js";

/** @type {CreateView} */
export function accountView({ signal, flash }) {
  const me = /** @type {Me} */ (currentUser());
  const credentials = createCredentials({
    writable: true,
    permissions: me.permissions,
    logsIn: true,
    signal,
  });
  const refresher = createRefresher({
    what: "the sessions and tokens",
    content: credentials.element,
    load: (turnSignal) => credentials.load({ signal: turnSignal }),
    signal,
  });
  return {
    title: "Account",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, me.name),
        button({ onClick: logOut }, "Log out"),
      ),
      me.role && h("p", {}, h("strong", {}, `Role ${me.role}`), `: ${ROLES[me.role]}.`),
      h("details", {}, h("summary", {}, "Your permissions"), permissionList(me.permissions)),
      h("section", { class: "section" }, h("h2", {}, "Password"), passwordForm(flash)),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.update,
  };

  /** @param {(message: string) => void} flash */
  function passwordForm(flash) {
    const current = passwordInput("current-password", "current");
    const password = newPassword("New password");
    const { element } = entryForm({
      action: "Change password",
      note: "The change ends your other sessions.",
      fields: {
        "/current_password": createField({
          label: "Current password",
          required: true,
          control: current,
        }),
        "/new_password": password.first,
        "/again": password.second,
      },
      check: password.check,
      send: () =>
        api.changePassword({ current_password: current.value, new_password: password.value() }),
      onDone() {
        element.reset();
        flash("The password was changed.");
        refresher.refresh();
      },
    });
    // Password managers store the new password for this name.
    element.prepend(
      h("input", {
        type: "text",
        name: "username",
        autocomplete: "username",
        value: me.name,
        readonly: true,
        hidden: true,
      }),
    );
    return h("details", {}, h("summary", {}, "Change the password"), element);
  }
}
