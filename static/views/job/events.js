// The events of a job, which trigger updates of its page.

import { api } from "../../api.js";
import { parseJson } from "../../json.js";
import { isFinished } from "../../components/status.js";

/** Events within this time are handled together. */
const COALESCE_MS = 200;
const EVENTS = ["status", "progress", "log", "result", "output"];

/** Calls `update` after events of a job, but never concurrently. */
export function followEvents(id, update, signal) {
  const source = api.followJob(id);
  let updating = false;
  let again = false;
  async function soon() {
    if (updating) {
      again = true;
      return;
    }
    updating = true;
    await new Promise((resolve) => setTimeout(resolve, COALESCE_MS));
    again = false;
    if (!signal.aborted && !document.hidden) await update();
    updating = false;
    if (again) soon();
  }
  for (const name of EVENTS) source.addEventListener(name, soon);
  source.addEventListener("status", ({ data }) => {
    // Closed explicitly, because an EventSource reconnects after its end.
    if (isFinished(parseJson(data).status)) source.close();
  });
  signal.addEventListener("abort", () => source.close());
  return source;
}
