// Periodic tasks: nothing runs in a hidden tab, and a tab that becomes visible catches up at once.

/**
 * Runs `task(signal)` now and after each pause. `pause` is milliseconds, or a function that returns
 * them; null stops. A new run aborts the one in progress. Returns `run`, which starts a run at
 * once; its promise resolves at the end of that run.
 *
 * @param {number | (() => number | null)} pause
 * @param {(signal: AbortSignal) => Promise<unknown>} task
 * @param {AbortSignal} [signal]
 */
export function every(pause, task, signal) {
  /** @type {number | undefined} */
  let timer;
  /** @type {AbortController?} */
  let running = null;
  let finishedAt = 0;

  async function run() {
    clearTimeout(timer);
    running?.abort();
    if (signal?.aborted) return;
    const turn = new AbortController();
    running = turn;
    try {
      await task(turn.signal);
    } finally {
      if (running === turn) {
        running = null;
        finishedAt = Date.now();
        schedule();
      }
    }
  }

  function schedule() {
    clearTimeout(timer);
    const wait = typeof pause === "function" ? pause() : pause;
    if (wait === null || document.hidden || running || signal?.aborted) return;
    timer = setTimeout(run, Math.max(0, finishedAt + wait - Date.now()));
  }

  document.addEventListener("visibilitychange", schedule, { signal });
  signal?.addEventListener("abort", () => {
    clearTimeout(timer);
    running?.abort();
  });
  run();
  return run;
}
