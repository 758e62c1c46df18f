// The stored commands of a job, loaded page by page.

import { api } from "../../api.js";

/**
 * Pages of results loaded per update, and the maximum of characters and results loaded in all, which
 * protects the browser.
 */
const PAGES_PER_UPDATE = 4;
const MAX_CHARACTERS = 32_000_000;
const MAX_RESULTS = 5_000;

/** Returns `stored`, the results loaded so far, and `load(options)`, which returns the last page. */
export function createResults(id) {
  const stored = [];
  let characters = 0;
  const isFull = () => characters > MAX_CHARACTERS || stored.length > MAX_RESULTS;
  return {
    stored,
    /** Loads the results after the last one loaded: a stored result never changes. */
    async load(options) {
      let answer = { running: [], next_after: stored.at(-1)?.id };
      for (let page = 0; page < PAGES_PER_UPDATE && !isFull(); page += 1) {
        answer = await api.jobResults(id, { after: stored.at(-1)?.id }, options);
        stored.push(...answer.results);
        characters += answer.results.reduce((sum, { output }) => sum + output.length, 0);
        if (answer.next_after === null) break;
      }
      return answer;
    },
  };
}
