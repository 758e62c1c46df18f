// Forms of a few fields, on a page or in a dialog. The server's errors are shown at their fields.

import { asApiError } from "../api.js";
import { button, h, uniqueId } from "../dom.js";
import { focusAgain } from "./dialog.js";
import { createField } from "./field.js";

/**
 * Returns the form `element`, and `isBusy()` while a request runs.
 *
 * @template T
 * @param {EntryForm<T>} options
 */
export function entryForm({ action, note, fields, check = () => true, send, onDone, cancel }) {
  const problem = h("div", { role: "alert" });
  const submit = h("button", { type: "submit", class: "button button-primary" }, action);
  const back = cancel && button({ onClick: cancel }, "Cancel");
  let busy = false;
  return {
    element: h(
      "form",
      { class: "form", novalidate: true, onSubmit },
      note && h("p", { class: "muted form-note" }, note),
      Object.values(fields).map(({ element }) => element),
      problem,
      h("div", { class: cancel ? "dialog-actions" : "actions-row" }, back, submit),
    ),
    isBusy: () => busy,
  };

  /** @param {SubmitEvent} event */
  async function onSubmit(event) {
    event.preventDefault();
    if (busy) return;
    problem.replaceChildren();
    for (const each of Object.values(fields)) each.showProblems([]);
    if (!check()) return;
    setBusy(true);
    try {
      const answer = await send();
      busy = false;
      onDone(answer);
    } catch (caught) {
      setBusy(false);
      showProblem(asApiError(caught));
    } finally {
      setBusy(false);
    }
  }

  /** @param {boolean} now */
  function setBusy(now) {
    busy = now;
    submit.disabled = now;
    if (back) back.disabled = now;
  }

  /** @param {ApiError} error */
  function showProblem({ message, errors }) {
    const known = Object.keys(fields).filter((place) => {
      const messages = errors.filter(({ pointer }) => pointer === place);
      fields[place].showProblems(messages.map((one) => one.message));
      return messages.length > 0;
    });
    const elsewhere = errors.filter(({ pointer }) => !(pointer in fields));
    const said = elsewhere.map(({ pointer, message: text }) => `${pointer}: ${text}`);
    if (known.length === 0 && said.length === 0) said.push(message);
    problem.replaceChildren(...said.map((text) => h("p", { class: "notice notice-error" }, text)));
    if (known.length > 0) fields[known[0]].focus();
    else submit.focus();
  }
}

/**
 * Opens a form in a dialog. Resolves to the server's answer, or to null if the user cancels.
 *
 * @template T
 * @param {FormDialog<T>} options
 * @returns {Promise<T?>}
 */
export function formDialog({ title, signal, ...options }) {
  return new Promise((resolve) => {
    const opener = document.activeElement;
    const titleId = uniqueId("dialog-title");
    /** @type {T?} */
    let done = null;
    const { element, isBusy } = entryForm({
      ...options,
      onDone(answer) {
        done = answer;
        dialog.close();
      },
      cancel: () => dialog.close(),
    });
    /** @type {HTMLDialogElement} */
    const dialog = h(
      "dialog",
      {
        class: "dialog dialog-wide",
        "aria-labelledby": titleId,
        onClose,
        onCancel: keep,
        onKeydown: keep,
      },
      h("h2", { id: titleId }, title),
      element,
    );

    /** @param {Event | KeyboardEvent} event */
    function keep(event) {
      const escapes = !("key" in event) || event.key === "Escape";
      if (isBusy() && escapes) event.preventDefault();
    }

    function onClose() {
      dialog.remove();
      focusAgain(opener);
      resolve(done);
    }

    signal.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** @param {Attributes} [attributes] */
export function textInput(attributes) {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
}

/** @param {"current-password" | "new-password"} autocomplete @param {string} [name] */
export function passwordInput(autocomplete, name = "password") {
  return h("input", { name, type: "password", autocomplete });
}

/**
 * A new password, which is typed twice: its two fields, and `check()`, which compares them.
 *
 * @param {string} [label]
 */
export function newPassword(label = "Password") {
  const password = passwordInput("new-password");
  const again = passwordInput("new-password", "again");
  const first = createField({
    label,
    hint: "At least 12 characters.",
    required: true,
    control: password,
  });
  const second = createField({
    label: "The same password again",
    required: true,
    control: again,
  });
  return {
    first,
    second,
    value: () => password.value,
    check() {
      const differs = password.value !== again.value;
      second.showProblems(differs ? ["The two passwords differ."] : []);
      if (differs) second.focus();
      return !differs;
    },
  };
}
