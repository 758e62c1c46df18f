// Confirmation of actions with consequences, in the browser's own modal dialog: it traps the focus,
// closes on Escape, and restores the focus.

import { button, h, patch, uniqueId } from "../dom.js";
import { showError } from "./refresher.js";

/**
 * Asks for confirmation; on yes, runs `action()` while the dialog stays open, so that an error
 * appears in the dialog. Resolves to true if the action succeeded, false if the user dismissed the
 * dialog.
 *
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function confirmDialog({
  title,
  body,
  confirm,
  confirming,
  dismiss = "Keep it",
  action,
  signal,
}) {
  return new Promise((resolve) => {
    const opener = document.activeElement;
    const titleId = uniqueId("dialog-title");
    const bodyId = uniqueId("dialog-body");
    const problem = h("div", { role: "alert" });
    const cancelButton = button({ autofocus: true, onClick: () => dialog.close() }, dismiss);
    const confirmButton = button(
      { class: "button button-danger", hidden: !confirm, onClick: run },
      confirm,
    );
    const dialog = h(
      "dialog",
      {
        class: "dialog",
        "aria-labelledby": titleId,
        "aria-describedby": bodyId,
        onClose: finish,
        onCancel: keepBusy,
        onKeydown: keepBusy,
      },
      h("h2", { id: titleId }, title),
      h("div", { class: "dialog-body", id: bodyId }, body),
      problem,
      h("div", { class: "dialog-actions" }, cancelButton, confirmButton),
    );
    let busy = false;
    let done = false;

    async function run() {
      setBusy(true);
      patch(problem);
      try {
        await action?.();
        done = true;
        dialog.close();
      } catch (error) {
        setBusy(false);
        showError(problem, error);
        cancelButton.focus();
      }
    }

    /**
     * Keeps the dialog open while the request runs. A second Escape would close it without a
     * `cancel` event.
     *
     * @param {Event | KeyboardEvent} event
     */
    function keepBusy(event) {
      const escapes = !("key" in event) || event.key === "Escape";
      if (busy && escapes) event.preventDefault();
    }

    /** @param {boolean} now */
    function setBusy(now) {
      busy = now;
      confirmButton.disabled = now;
      cancelButton.disabled = now;
      patch(confirmButton, now ? confirming : confirm);
    }

    function finish() {
      dialog.remove();
      focusAgain(opener);
      resolve(done);
    }

    signal.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Restores the focus, even if a refresh has replaced the opener. @param {Element?} opener */
export function focusAgain(opener) {
  if (hasFocus() || !opener) return;
  const name = (/** @type {Element} */ element) =>
    element.getAttribute("aria-label") ?? element.textContent;
  const like = [...document.querySelectorAll(opener.tagName)].find(
    (element) => name(element) === name(opener),
  );
  for (const element of [opener, like, document.querySelector("main h1")]) {
    if (element instanceof HTMLElement) element.focus();
    if (hasFocus()) return;
  }
}

function hasFocus() {
  return document.activeElement !== null && document.activeElement !== document.body;
}
