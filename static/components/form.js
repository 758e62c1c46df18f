// A form for a job's parameters, generated from the plugin's JSON Schema.
//
// `createParamsForm` is the entry point; `KINDS` lists the kinds of fields, first match wins. The
// form checks only what it needs to build the JSON (required, numbers, JSON syntax): the server
// validates against the whole schema and returns pointers, and a second validation here would
// eventually disagree. A schema that a flat form cannot express is edited as JSON.

import { h, uniqueId } from "../dom.js";
import { parseJson, parseNumber } from "../json.js";
import { createField } from "./field.js";

/**
 * Returns `{ element, read(), showProblems(errors), count }`. `read()` returns `{ value, problems
 * }`, with problems as the server reports them: `[{ pointer, message }]`. `showProblems` shows each
 * at its field and returns `[{ field, messages }]` and the errors without a field.
 */
export function createParamsForm(schema, initial) {
  const root = asSchema(schema);
  const properties = asSchema(root.properties);
  if (!isFlat(root, properties, initial)) return jsonForm(root, initial);

  const isRequired = (name) => (root.required ?? []).includes(name);
  const all = Object.entries(properties);
  // Rhai sorts a schema's properties by name, which would hide required fields among the others.
  const ordered = [
    ...all.filter(([name]) => isRequired(name)),
    ...all.filter(([name]) => !isRequired(name)),
  ];
  const entries = ordered.map(([name, property]) => {
    const required = isRequired(name);
    const resolved = resolve(property, root);
    resolved.items = resolve(resolved.items, root);
    const value = initial && Object.hasOwn(initial, name) ? initial[name] : resolved.default;
    // The last kind accepts all schemas.
    /** @type {any} */
    const kind = KINDS.find(({ accepts }) => accepts(resolved));
    const input = kind.build(resolved, { required, value, name });
    const field = createField({
      label: resolved.title ?? name,
      name,
      hint: hintFor(resolved, input.hint),
      required,
      control: input.control,
      group: input.group,
    });
    return { name, pointer: `/${escapePointer(name)}`, input, field };
  });

  return {
    element: h(
      "div",
      { class: "fields" },
      entries.map(({ field }) => field.element),
    ),
    count: entries.length,
    read() {
      const value = {};
      const problems = [];
      for (const { name, pointer, input } of entries) {
        const answer = input.read();
        if (answer.problem) problems.push({ pointer, message: answer.problem });
        else if (answer.value !== undefined) value[name] = answer.value;
      }
      return { value, problems };
    },
    showProblems: (errors) => distribute(entries, errors),
  };
}

// ---- kinds of fields ----------------------------------------------------------------------
// `build(schema, { required, value, name })` returns `{ control, read(), group?, hint?, place?(rest) }`;
// `read()` returns `{ value }` (undefined: omitted) or `{ problem }`; `place` describes the location of
// a deeper pointer inside the control.

const REQUIRED = { problem: "This is required." };

const KINDS = [
  { accepts: (schema) => choicesOf(schema) !== null, build: buildChoice },
  { accepts: (schema) => typeOf(schema) === "boolean", build: buildBoolean },
  { accepts: (schema) => ["integer", "number"].includes(typeOf(schema)), build: buildNumber },
  { accepts: (schema) => typeOf(schema) === "string", build: buildText },
  {
    accepts: (schema) => typeOf(schema) === "array" && choicesOf(schema.items) !== null,
    build: buildChoices,
  },
  {
    accepts: (schema) =>
      typeOf(schema) === "array" && ["string", "integer", "number"].includes(typeOf(schema.items)),
    build: buildLines,
  },
  { accepts: () => true, build: buildJson },
];

function buildChoice(schema, { required, value }) {
  const choices = choicesOf(schema);
  const unset =
    required && value !== undefined
      ? null
      : h("option", { value: "" }, required ? "Choose…" : "(not set)");
  const control = h(
    "select",
    {},
    unset,
    choices.map((choice, index) =>
      h("option", { value: index, selected: same(choice.value, value) }, choice.label),
    ),
  );
  return {
    control,
    read() {
      if (control.value === "") return required ? REQUIRED : {};
      return { value: choices[Number(control.value)].value };
    },
  };
}

function buildBoolean(schema, { required, value }) {
  // An optional boolean without a default has three states, and a checkbox has two.
  if (value === undefined && !required) {
    return buildChoice(
      {
        oneOf: [
          { const: true, title: "Yes" },
          { const: false, title: "No" },
        ],
      },
      { required, value },
    );
  }
  const control = h("input", { type: "checkbox", checked: value === true });
  return { control, read: () => ({ value: control.checked }) };
}

function buildNumber(schema, { required, value }) {
  const whole = typeOf(schema) === "integer";
  const control = h("input", {
    type: "number",
    step: whole ? "1" : "any",
    min: schema.minimum,
    max: schema.maximum,
    value: value ?? "",
    inputmode: whole ? "numeric" : "decimal",
  });
  return {
    control,
    hint: range(schema),
    read() {
      if (control.validity.badInput) return { problem: "Expected a number." };
      if (control.value === "") return required ? REQUIRED : {};
      const number = whole ? parseWhole(control.value) : parseNumber(control.value);
      if (number === undefined)
        return { problem: whole ? "Expected a whole number." : "Expected a number." };
      return { value: number };
    },
  };
}

function buildText(schema, { required, value }) {
  const long =
    ["multiline", "textarea"].includes(schema.format) || String(value ?? "").includes("\n");
  const secret = schema.format === "password" || schema.writeOnly === true;
  const control = long
    ? h("textarea", { rows: 6, spellcheck: "false", value: value ?? "" })
    : h("input", {
        type: secret ? "password" : "text",
        autocomplete: "off",
        spellcheck: "false",
        value: value ?? "",
      });
  return {
    control,
    hint: schema.pattern ? ["Pattern: ", h("code", {}, schema.pattern)] : null,
    read() {
      if (control.value !== "") return { value: control.value };
      return required ? REQUIRED : {};
    },
  };
}

function buildChoices(schema, { required, value }) {
  const chosen = Array.isArray(value) ? value : [];
  const boxes = choicesOf(schema.items).map((choice) => ({
    choice,
    box: h("input", {
      type: "checkbox",
      id: uniqueId("choice"),
      checked: chosen.some((one) => same(one, choice.value)),
    }),
  }));
  return {
    group: true,
    control: h(
      "div",
      { class: "checks" },
      boxes.map(({ choice, box }) =>
        h("label", { class: "check", for: box.id }, box, h("span", {}, choice.label)),
      ),
    ),
    read() {
      const picked = boxes.filter(({ box }) => box.checked).map(({ choice }) => choice.value);
      if (picked.length > 0) return { value: picked };
      return emptyList(schema, required);
    },
  };
}

/**
 * One item per line. Blank lines are skipped, so each item keeps its line number for error
 * messages.
 */
function buildLines(schema, { required, value }) {
  const items = Array.isArray(value) ? value : [];
  const numeric = typeOf(schema.items) !== "string";
  const control = h("textarea", {
    rows: Math.min(16, Math.max(4, items.length + 1)),
    wrap: "off",
    spellcheck: "false",
    value: items.join("\n"),
  });
  let lineOfItem = [];
  return {
    control,
    hint: "One per line.",
    place: ([index]) =>
      lineOfItem[Number(index)] === undefined ? null : `Line ${lineOfItem[Number(index)]}`,
    read() {
      const lines = control.value
        .split("\n")
        .map((text, index) => ({ text: text.replace(/\r$/, ""), line: index + 1 }))
        .filter(({ text }) => text.trim() !== "");
      lineOfItem = lines.map(({ line }) => line);
      if (lines.length === 0) return emptyList(schema, required);
      if (!numeric) return { value: lines.map(({ text }) => text) };
      const wrong = lines.find(({ text }) => parseNumber(text) === undefined);
      if (wrong) return { problem: `Line ${wrong.line}: expected a number.` };
      return { value: lines.map(({ text }) => parseNumber(text)) };
    },
  };
}

function buildJson(schema, { required, value }) {
  const control = h("textarea", {
    class: "json",
    rows: 6,
    wrap: "off",
    spellcheck: "false",
    value: value === undefined ? "" : JSON.stringify(value, null, 2),
  });
  return {
    control,
    hint: "JSON.",
    place: (rest) => `At /${rest.join("/")}`,
    read() {
      if (control.value.trim() === "") return required ? REQUIRED : {};
      try {
        return { value: parseJson(control.value) };
      } catch (error) {
        return { problem: `Invalid JSON: ${error.message}` };
      }
    },
  };
}

/** All parameters as one JSON document. */
function jsonForm(schema, initial) {
  const input = buildJson(schema, { required: false, value: initial ?? schema.default ?? {} });
  const field = createField({
    label: "Parameters",
    hint: hintFor(schema, input.hint),
    control: input.control,
  });
  const entry = { pointer: "", input, field };
  return {
    element: h("div", { class: "fields" }, field.element),
    count: 1,
    read() {
      const { value = {}, problem } = input.read();
      return { value, problems: problem ? [{ pointer: "", message: problem }] : [] };
    },
    showProblems: (errors) => distribute([entry], errors),
  };
}

// ---- problems ----------------------------------------------------------------------------

function distribute(entries, errors) {
  const atFields = entries.map((entry) => ({ field: entry.field, messages: [] }));
  const elsewhere = [];
  for (const { pointer, message } of errors) {
    const index = entries.findIndex(
      (entry) => pointer === entry.pointer || pointer.startsWith(`${entry.pointer}/`),
    );
    if (index < 0) {
      elsewhere.push({ pointer, message });
      continue;
    }
    const rest = pointer
      .slice(entries[index].pointer.length)
      .split("/")
      .slice(1)
      .map(unescapePointer);
    const place = rest.length > 0 ? entries[index].input.place?.(rest) : null;
    atFields[index].messages.push(place ? `${place}: ${message}` : message);
  }
  for (const { field, messages } of atFields) field.showProblems(messages);
  return { atFields: atFields.filter(({ messages }) => messages.length > 0), elsewhere };
}

function escapePointer(part) {
  return part.replaceAll("~", "~0").replaceAll("/", "~1");
}

function unescapePointer(part) {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

// ---- schemas ------------------------------------------------------------------------------

/**
 * Returns whether a form with one control per property is complete: otherwise it would hide
 * choices, or drop values without a field.
 */
function isFlat(schema, properties, initial) {
  if (["oneOf", "anyOf", "allOf", "if", "$ref"].some((keyword) => keyword in schema)) return false;
  if (Object.keys(initial ?? {}).some((name) => !Object.hasOwn(properties, name))) return false;
  if ("patternProperties" in schema || typeof schema.additionalProperties === "object")
    return false;
  return (
    "properties" in schema || schema.type !== "object" || schema.additionalProperties === false
  );
}

/**
 * Returns an object schema; `true`, `false` and null are schemas too, without information for a
 * form.
 */
function asSchema(value) {
  return typeof value === "object" && value !== null ? value : {};
}

/**
 * Returns a property's schema, with one reference into the same document resolved, as schemars
 * generates them.
 */
function resolve(schema, root) {
  const own = asSchema(schema);
  const [, kind, name] = /^#\/(\$defs|definitions)\/([^/]+)$/.exec(own.$ref ?? "") ?? [];
  const target = kind ? asSchema(root[kind]?.[unescapePointer(name)]) : {};
  return { ...target, ...own };
}

/** Returns the type, ignoring null; undefined if there are several. */
function typeOf(schema) {
  if (!Array.isArray(schema.type)) return schema.type;
  const types = schema.type.filter((type) => type !== "null");
  return types.length === 1 ? types[0] : undefined;
}

function choicesOf(schema) {
  if ("const" in schema) return [{ value: schema.const, label: choiceLabel(schema.const) }];
  if (Array.isArray(schema.enum))
    return schema.enum.map((value) => ({ value, label: choiceLabel(value) }));
  if (schema.oneOf?.length > 0 && schema.oneOf.every((one) => "const" in asSchema(one))) {
    return schema.oneOf.map((one) => ({
      value: one.const,
      label: one.title ?? one.description ?? choiceLabel(one.const),
    }));
  }
  return null;
}

function choiceLabel(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function emptyList(schema, required) {
  if (!required) return {};
  return (schema.minItems ?? 0) > 0 ? REQUIRED : { value: [] };
}

function hintFor(schema, extra) {
  const described =
    schema.description && /[.!?:]$/.test(schema.description)
      ? schema.description
      : schema.description && `${schema.description}.`;
  const parts = [described, extra].filter(Boolean);
  return parts.length === 0 ? null : parts.map((part, index) => [index > 0 ? " " : "", part]);
}

function range({ minimum, maximum }) {
  if (minimum !== undefined && maximum !== undefined) return `From ${minimum} to ${maximum}.`;
  if (minimum !== undefined) return `At least ${minimum}.`;
  if (maximum !== undefined) return `At most ${maximum}.`;
  return null;
}

/** Returns the integer in a text, with all digits; 2 for `2.0`; undefined otherwise. */
function parseWhole(text) {
  if (/^-?\d+$/.test(text)) return parseNumber(text);
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
