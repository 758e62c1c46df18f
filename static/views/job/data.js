// The data of a job that grows while it runs: its stored results, and the events that report changes.

import { api } from "../../api.js";
import { parseJson } from "../../json.js";
import { isFinished } from "../../components/job.js";

/**
 * Pages of results loaded per update, and the maximum of characters and results loaded in all, which
 * protects the browser.
 */
const PAGES_PER_UPDATE = 4;
const MAX_CHARACTERS = 32_000_000;
const MAX_RESULTS = 5_000;
/** Events within this time are handled together. */
const COALESCE_MS = 200;
const EVENTS = ["status", "progress", "log", "result", "output"];

/**
 * Returns `stored`, the results loaded so far, and `load(options)`, which returns the last page.
 *
 * @param {string} id
 */
export function createResults(id) {
  /** @type {Result[]} */
  const stored = [];
  let characters = 0;
  const isFull = () => characters > MAX_CHARACTERS || stored.length > MAX_RESULTS;
  return {
    stored,
    /**
     * Loads the results after the last one loaded: a stored result never changes.
     *
     * @param {RequestOptions} options
     */
    async load(options) {
      /** @type {ResultList} */
      let answer = { results: [], running: [], next_after: stored.at(-1)?.id };
      for (let page = 0; page < PAGES_PER_UPDATE && !isFull(); page += 1) {
        answer = await api.jobResults(id, { after: stored.at(-1)?.id }, options);
        stored.push(...answer.results);
        characters += answer.results.reduce((sum, { output }) => sum + output.length, 0);
        if (!answer.next_after) break;
      }
      return answer;
    },
  };
}

/**
 * Calls `update` after events of a job, but never concurrently.
 *
 * @param {string} id
 * @param {() => Promise<void>} update
 * @param {AbortSignal} signal
 */
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
