// Runs a show command and reports how its output has changed since the last run.
//
// Built with jco; see docs/components.md.

import { target as jobTarget } from "job-scheduler:plugin/job@0.1.1";
import { info } from "job-scheduler:plugin/log@0.1.1";
import { open } from "job-scheduler:plugin/ssh@0.1.1";
import { get, set } from "job-scheduler:plugin/storage@0.1.1";
import { diff } from "job-scheduler:plugin/text@0.1.1";

// Converts whatever `run` throws into the job's error: an error of the host, one of our own, or an
// exception.
function reported(run) {
  return (params) => {
    try {
      return run(params);
    } catch (thrown) {
      const error = thrown?.payload ?? thrown;
      if (typeof error?.code === "string") {
        throw { code: error.code, message: `${error.message ?? ""}`, retryable: error.retryable === true };
      }
      throw { code: "script", message: `${thrown}\n${thrown?.stack ?? ""}`.trim(), retryable: false };
    }
  };
}

export const plugin = {
  describe() {
    return JSON.stringify({
      summary: "Run a show command and say what changed since the last time",
      targets: "each",
      needs: { ssh: { exec: ["show *", "display *"] }, storage: true },
      on_interrupt: "retry",
      params: {
        type: "object",
        additionalProperties: false,
        required: ["command"],
        properties: { command: { type: "string", minLength: 1, description: "A show command" } },
      },
    });
  },

  run: reported((params) => {
    const { command } = JSON.parse(params);
    const device = open(jobTarget());
    const reply = device.exec(command, undefined);
    device.close();
    if (reply.failure !== undefined) {
      // The thrown object becomes the job's error.
      throw { code: "refused", message: reply.failure, retryable: false };
    }
    const key = `${device.target()}/${command}`;
    const kept = get(key);
    const changes = kept === undefined ? "" : diff(JSON.parse(kept), reply.output);
    set(key, JSON.stringify(reply.output));
    info(kept === undefined ? "kept for the first time" : changes === "" ? "unchanged" : "changed", undefined);
    return JSON.stringify({ first: kept === undefined, changed: changes !== "", diff: changes });
  }),
};
