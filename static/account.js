// The user of the dashboard. While authentication is off, there is none, and everything is allowed.

import { api } from "./api.js";
import { href } from "./router.js";

/** @type {Me?} */
let me = null;

/** Asks the server for the user; throws an `ApiError` with status 401 if a login is required. */
export async function loadUser() {
  me = await api.me();
  return me;
}

/** Whether the server has reported the user. */
export function isUserKnown() {
  return me !== null;
}

/** Returns the user, or null while authentication is off. */
export function currentUser() {
  return me?.authentication ? me : null;
}

/**
 * Returns whether the user has a permission. The server decides; this only spares useless links.
 *
 * @param {Permission} permission
 */
export function may(permission) {
  return me === null || me.permissions.includes(permission);
}

/** Ends the login, then shows the form for the next one. */
export async function logOut() {
  await api.logOut().catch(() => {});
  location.assign(href());
}
