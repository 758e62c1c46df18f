// node build.mjs WIT OUT: builds a component from plugin.js, for the contract in the directory WIT.

import { readFile, writeFile } from "node:fs/promises";

import { componentize } from "@bytecodealliance/componentize-js";

const [wit, out] = process.argv.slice(2);
const source = await readFile(new URL("plugin.js", import.meta.url), "utf8");
const { component } = await componentize(source, {
  witPath: wit,
  worldName: "job-plugin",
  // Plugins have no network, and the host rejects a component that imports it. The console is the
  // job's log.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(out, component);
