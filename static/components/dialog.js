// A question before something that cannot be undone, in the browser's own modal dialog: it traps
// focus, closes on Escape, and gives focus back.

import { h, patch, uniqueId } from "../dom.js";

/**
 * Asks; on yes runs `action()` while the dialog stays open, so that a refusal is shown where the
 * decision was made. Resolves to true when the action succeeded, false when the user backed out.
 */
export function confirmDialog({ title, body, confirm, confirming, action, signal }) {
  return new Promise((resolve) => {
    const titleId = uniqueId("dialog-title");
    const problem = h("div", { role: "alert" });
    const cancelButton = h("button", { type: "button", class: "button", autofocus: true, onClick: () => dialog.close() }, "Keep it");
    const confirmButton = h("button", { type: "button", class: "button button-danger", onClick: run }, confirm);
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": titleId, onClose: finish, onCancel: (event) => busy && event.preventDefault() },
      h("h2", { id: titleId }, title),
      h("div", { class: "dialog-body" }, body),
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
      }
    }

    function setBusy(now) {
      busy = now;
      confirmButton.disabled = now;
      cancelButton.disabled = now;
      patch(confirmButton, now ? confirming : confirm);
    }

    function finish() {
      dialog.remove();
      resolve(done);
    }

    signal?.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}
