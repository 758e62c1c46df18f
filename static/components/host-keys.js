// Dialog for the host keys of a connection: shows the known keys and trusts a new one for a device
// that was replaced.

import { api } from "../api.js";
import { h, uniqueId } from "../dom.js";
import { confirmDialog } from "./dialog.js";

/** Opens the dialog for a connection of the API. Resolves to true if a key was trusted. */
export async function hostKeysDialog({ id, name }, { signal }) {
  const { pinned, host_keys: known } = await api.hostKeys(id, { signal });
  const inputId = uniqueId("host-key");
  const input = h("input", {
    id: inputId,
    type: "text",
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "SHA256:…",
  });
  const body = [
    h(
      "p",
      {},
      pinned
        ? ["Only this host key is accepted: ", h("code", {}, pinned)]
        : "No host key is pinned.",
    ),
    h("p", {}, known.length > 0 ? "Known host keys:" : "No host key is known."),
    known.length > 0 &&
      h(
        "ul",
        {},
        known.map(({ algorithm, fingerprint }) =>
          h("li", {}, algorithm, " ", h("code", {}, fingerprint)),
        ),
      ),
    h(
      "p",
      {},
      "If the device was replaced, compare the new key's fingerprint with the one on the device's console. The stored secrets are sent only to the device with this key.",
    ),
    h(
      "div",
      { class: "answer-field" },
      h("label", { for: inputId }, "Fingerprint or public key"),
      input,
    ),
  ];
  return confirmDialog({
    title: `Host keys of ${name}`,
    body,
    confirm: "Trust this key",
    confirming: "Saving…",
    dismiss: "Close",
    action: () => api.trustHostKey(id, input.value.trim()),
    signal,
  });
}
