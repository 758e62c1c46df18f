// Links between the pages of a list that is sorted by name. The URL contains the page (`?cursor=`).

import { h, patch } from "../dom.js";
import { href } from "../router.js";

/** Returns `{ element, update(cursor, next) }` for the dashboard page at `path`. */
export function createPages(path) {
  const element = h("nav", { class: "pages", "aria-label": "Pages" });
  return {
    element,
    update(cursor, next) {
      patch(
        element,
        cursor && h("a", { class: "button", href: href(path) }, "First page"),
        next &&
          h("a", { class: "button", href: href(path, { cursor: next }), rel: "next" }, "Next page"),
      );
    },
  };
}
