// Generates the types of the API's schemas, which the type checker reads. The source is the snapshot
// of the OpenAPI document, which the test `the_specification_is_what_was_agreed` compares with the
// server.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import openapiTypes, { astToString } from "openapi-typescript";

const SNAPSHOT = "../../tests/snapshots/integration__contracts__schemas.snap";
const DIRECTORY = "node_modules/.api/";

const here = (path) => new URL(path, import.meta.url);
const snapshot = await readFile(here(SNAPSHOT), "utf8");
// A snapshot begins with a header between two lines of dashes.
const schemas = JSON.parse(snapshot.split(/^---$/m).slice(2).join("---"));
const document = {
  openapi: "3.1.0",
  info: { title: "Job Scheduler", version: "0" },
  paths: {},
  components: { schemas },
};
// An object without properties may have any, such as a job's parameters. A field with a default may be
// missing from a request.
const options = { emptyObjectsUnknown: true, defaultNonNullable: false };
const types = await openapiTypes(document, options);
await mkdir(here(DIRECTORY), { recursive: true });
await writeFile(here(`${DIRECTORY}schemas.d.ts`), astToString(types));
