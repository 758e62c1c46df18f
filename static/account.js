// The user of the dashboard. While authentication is off, there is none, and everything is allowed.

import { api } from "./api.js";

/** @type {Me?} */
let me = null;

/** Asks the server for the user; throws an `ApiError` with status 401 if a login is required. */
export async function loadUser() {
  me = await api.me();
  return me;
}

/**
 * Returns whether the user has a permission. The server decides; this only spares useless links.
 *
 * @param {Permission} permission
 */
export function may(permission) {
  return me === null || me.permissions.includes(permission);
}
