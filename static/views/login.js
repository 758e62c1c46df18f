// The login, and the setup of the first user. They are shown instead of the other views.

import { api, asApiError } from "../api.js";
import { h } from "../dom.js";
import { createField } from "../components/field.js";

const MIN_PASSWORD = 12;

/**
 * Returns the form for a login. `onDone` is called when the server has accepted it.
 *
 * @param {() => void} onDone
 */
export function loginForm(onDone) {
  const name = input({ name: "username", autocomplete: "username" });
  const password = input({
    name: "password",
    type: "password",
    autocomplete: "current-password",
  });
  return form({
    title: "Log in",
    action: "Log in",
    fields: {
      "/name": field("Name", name),
      "/password": field("Password", password),
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
  const name = input({ name: "username", autocomplete: "username" });
  const password = input({ name: "password", type: "password", autocomplete: "new-password" });
  const again = input({ name: "again", type: "password", autocomplete: "new-password" });
  const repeated = field("The same password again", again);
  return form({
    title: "Set up the first user",
    action: "Create the user",
    note: "The first user is an admin and can create other users.",
    fields: {
      "/name": field("Name", name, "Letters, digits, - _ and ."),
      "/password": field("Password", password, `At least ${MIN_PASSWORD} characters`),
      "/again": repeated,
    },
    check() {
      const differs = password.value !== again.value;
      repeated.showProblems(differs ? ["The two passwords differ."] : []);
      return !differs;
    },
    send: () => api.setUp({ code, name: name.value.trim(), password: password.value }),
    onDone,
  });
}

/** @param {Attributes} attributes */
function input(attributes) {
  return h("input", {
    class: "input",
    type: "text",
    required: true,
    ...attributes,
  });
}

/** @param {string} label @param {HTMLInputElement} control @param {string} [hint] */
function field(label, control, hint) {
  return createField({ label, hint, control, required: true });
}

/** @param {AccountForm} options */
function form({ title, action, note, fields, check = () => true, send, onDone }) {
  const problem = h("div", { role: "alert" });
  const submit = h("button", { type: "submit", class: "button button-primary" }, action);
  return h(
    "form",
    { class: "account-form", onSubmit },
    h("h1", { tabindex: "-1" }, title),
    note && h("p", { class: "muted" }, note),
    problem,
    ...Object.values(fields).map(({ element }) => element),
    h("p", {}, submit),
  );

  /** @param {SubmitEvent} event */
  async function onSubmit(event) {
    event.preventDefault();
    problem.replaceChildren();
    for (const each of Object.values(fields)) each.showProblems([]);
    if (!check()) return;
    submit.disabled = true;
    try {
      await send();
      onDone();
    } catch (caught) {
      showProblem(asApiError(caught));
    } finally {
      submit.disabled = false;
    }
  }

  /** @param {ApiError} error */
  function showProblem({ message, errors }) {
    const known = errors.filter(({ pointer }) => pointer in fields);
    for (const { pointer, message } of known) fields[pointer].showProblems([message]);
    if (known.length === 0 || known.length < errors.length) {
      problem.replaceChildren(h("p", { class: "notice notice-error" }, message));
    }
  }
}
