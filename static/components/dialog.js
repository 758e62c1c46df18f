// A question before something that has consequences, in the browser's own modal dialog: it traps
// focus, closes on Escape, and gives focus back.

import { h, patch, uniqueId } from "../dom.js";

/**
 * Asks; on yes runs `action()` while the dialog stays open, so that a refusal is shown where the
 * decision was made. `body` says what will happen and to what; `dismiss` is the button that does
 * nothing, and has the focus. Resolves to true when the action succeeded, false when the user backed
 * out.
 */
export function confirmDialog({ title, body, confirm, confirming, dismiss = "Keep it", action, signal }) {
  return new Promise((resolve) => {
    const opener = document.activeElement;
    const titleId = uniqueId("dialog-title");
    const bodyId = uniqueId("dialog-body");
    const problem = h("div", { role: "alert" });
    const cancelButton = h("button", { type: "button", class: "button", autofocus: true, onClick: () => dialog.close() }, dismiss);
    const confirmButton = h("button", { type: "button", class: "button button-danger", onClick: run }, confirm);
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": titleId, "aria-describedby": bodyId, onClose: finish, onCancel: keepBusy, onKeydown: keepBusy },
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
        await action();
        done = true;
        dialog.close();
      } catch (error) {
        if (error.name !== "ApiError") console.error(error);
        setBusy(false);
        patch(problem, h("p", { class: "notice notice-error" }, error.message));
        cancelButton.focus();
      }
    }

    /** What was sent cannot be called back. A second Escape would close the dialog without `cancel`. */
    function keepBusy(event) {
      const escapes = event.type === "cancel" || event.key === "Escape";
      if (busy && escapes) event.preventDefault();
    }

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

    signal?.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Gives focus back, also where a refresh has put another element in the opener's place. */
export function focusAgain(opener) {
  if (hasFocus()) return;
  const name = (element) => element.getAttribute("aria-label") ?? element.textContent;
  const like = [...document.querySelectorAll(opener.tagName)].find((element) => name(element) === name(opener));
  for (const element of [opener, like, document.querySelector("main h1")]) {
    element?.focus();
    if (hasFocus()) return;
  }
}

function hasFocus() {
  return document.activeElement !== null && document.activeElement !== document.body;
}
