// The page for unknown addresses.

import { h } from "../dom.js";
import { href } from "../router.js";
import { emptyBox } from "../components/refresher.js";

export function notFoundView() {
  return {
    title: "Not found",
    element: h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, "Not found"),
      emptyBox("This page does not exist.", h("p", {}, h("a", { href: href() }, "Go to the jobs"))),
    ),
  };
}
