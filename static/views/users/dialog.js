// The dialog that adds or changes a user.

import { api } from "../../api.js";
import { h, setText } from "../../dom.js";
import { href } from "../../router.js";
import { formDialog, passwordInput, textInput } from "../../components/entry-form.js";
import { createField } from "../../components/field.js";
import { PERMISSIONS, permissionPicker, ROLES } from "../../components/permissions.js";

/** @type {Record<UserKind, string>} */
export const KINDS = { person: "Person", service: "Service account" };

/** @param {string} name */
export function userHref(name) {
  return href(`users/${encodeURIComponent(name)}`);
}

/**
 * Opens the dialog for a stored user, or for a new one. Resolves to the user, or to null if nothing
 * was changed.
 *
 * @param {User?} stored
 * @param {AbortSignal} signal
 */
export function userDialog(stored, signal) {
  const name = textInput({ value: stored?.name ?? "", autocapitalize: "none" });
  const kind = choice(KINDS, stored?.kind ?? "person");
  const roleWords = h("span");
  const role = choice(
    Object.fromEntries(Object.keys(ROLES).map((role) => [role, role])),
    stored?.role ?? "viewer",
  );
  const showRole = () => {
    const words = ROLES[/** @type {Role} */ (role.value)];
    setText(roleWords, words.charAt(0).toUpperCase() + words.slice(1));
  };
  role.addEventListener("change", showRole);
  showRole();
  const extra = permissionPicker(PERMISSIONS, stored?.permissions);
  const disabled = h("input", { type: "checkbox", checked: stored?.disabled ?? false });
  const password = passwordInput("new-password");

  const passwordField = createField({
    label: stored ? "New password" : "Password",
    hint: stored
      ? "At least 12 characters. If empty, the password stays."
      : "At least 12 characters.",
    required: !stored,
    control: password,
  });
  const showPassword = () => {
    passwordField.element.hidden = kind.value === "service";
  };
  kind.addEventListener("change", showPassword);
  showPassword();

  /** @type {Record<string, Field>} */
  const fields = {
    "/name": createField({
      label: "Name",
      hint: "Letters, digits, - _ and .",
      required: true,
      control: name,
    }),
    // The kind of a stored user cannot change.
    ...(!stored && {
      "/kind": createField({
        label: "Kind",
        hint: "A service account has tokens and no password.",
        control: kind,
      }),
    }),
    "/password": passwordField,
    "/role": createField({ label: "Role", hint: roleWords, control: role }),
    "/permissions": createField({
      label: "Permissions beyond the role",
      group: true,
      control: extra.control,
    }),
    ...(stored && {
      "/disabled": createField({
        label: "Disabled",
        hint: "A disabled user cannot log in, and the user's tokens are rejected.",
        control: disabled,
      }),
    }),
  };

  return formDialog({
    title: stored ? `Change ${stored.name}` : "Add a user",
    action: stored ? "Save" : "Add",
    note: stored && "A change of role, permissions or password ends the user's sessions.",
    fields,
    send() {
      const isPerson = kind.value === "person";
      const user = {
        name: name.value.trim(),
        kind: /** @type {UserKind} */ (kind.value),
        role: /** @type {Role} */ (role.value),
        permissions: extra.read(),
        disabled: disabled.checked,
        password: (isPerson && password.value) || undefined,
      };
      return stored ? api.replaceUser(stored.name, user) : api.createUser(user);
    },
    signal,
  });
}

/** @param {Record<string, string>} choices @param {string} selected */
function choice(choices, selected) {
  return h(
    "select",
    {},
    Object.entries(choices).map(([value, label]) =>
      h("option", { value, selected: value === selected }, label),
    ),
  );
}
