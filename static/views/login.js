// The login, and the setup of the first user. They are shown instead of the other views.

import { api } from "../api.js";
import { h } from "../dom.js";
import { entryForm, newPassword, passwordInput, textInput } from "../components/entry-form.js";
import { createField } from "../components/field.js";

/**
 * Returns the form for a login. `onDone` is called when the server has accepted it.
 *
 * @param {() => void} onDone
 */
export function loginForm(onDone) {
  const name = nameInput();
  const password = passwordInput("current-password");
  return page("Log in", {
    action: "Log in",
    fields: {
      "/name": createField({ label: "Name", required: true, control: name }),
      "/password": createField({ label: "Password", required: true, control: password }),
    },
    send: () => api.logIn({ name: name.value.trim(), password: password.value }),
    onDone,
  });
}

/**
 * Returns the form for the first user of a server.
 *
 * @param {string} code
 * @param {() => void} onDone
 */
export function setupForm(code, onDone) {
  const name = nameInput();
  const password = newPassword();
  return page("Set up the first user", {
    action: "Create the user",
    note: "The first user is an admin and can create other users.",
    fields: {
      "/name": createField({
        label: "Name",
        hint: "Letters, digits, - _ and .",
        required: true,
        control: name,
      }),
      "/password": password.first,
      "/again": password.second,
    },
    check: password.check,
    send: () => api.setUp({ code, name: name.value.trim(), password: password.value() }),
    onDone,
  });
}

function nameInput() {
  return textInput({ name: "username", autocomplete: "username", autocapitalize: "none" });
}

/** @template T @param {string} title @param {EntryForm<T>} options */
function page(title, options) {
  return h(
    "div",
    { class: "account-form" },
    h("h1", { tabindex: "-1" }, title),
    entryForm(options).element,
  );
}
