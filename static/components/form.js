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
 * Returns a form for the parameters that `schema` describes, filled in with `initial`.
 *
 * @param {unknown} schema
 * @param {Params?} [initial]
 * @returns {ParamsForm}
 */
export function createParamsForm(schema, initial) {
  const root = asSchema(schema);
  const properties = root.properties ?? {};
  if (!isFlat(root, properties, initial)) return jsonForm(root, initial);

  const isRequired = (/** @type {string} */ name) => (root.required ?? []).includes(name);
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
    const build = KINDS.find(({ accepts }) => accepts(resolved))?.build ?? buildJson;
    const input = build(resolved, { required, value });
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
      /** @type {Params} */
      const value = {};
      /** @type {Problem[]} */
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

/** @type {Reading} */
const REQUIRED = { problem: "This is required." };

/** @type {InputKind[]} */
const KINDS = [
  { accepts: (schema) => choicesOf(schema) !== null, build: buildChoice },
  { accepts: (schema) => typeOf(schema) === "boolean", build: buildBoolean },
  {
    accepts: (schema) => ["integer", "number"].includes(typeOf(schema)),
    build: buildNumber,
  },
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
];

/** @type {BuildInput} */
function buildChoice(schema, { required, value }) {
  const choices = choicesOf(schema) ?? [];
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

/** @type {BuildInput} */
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

/** @type {BuildInput} */
function buildNumber(schema, { required, value }) {
  const whole = typeOf(schema) === "integer";
  const control = h("input", {
    type: "number",
    step: whole ? "1" : "any",
    min: schema.minimum,
    max: schema.maximum,
    value: asText(value),
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
        return {
          problem: whole ? "Expected a whole number." : "Expected a number.",
        };
      return { value: number };
    },
  };
}

/** @type {BuildInput} */
function buildText(schema, { required, value }) {
  const given = asText(value);
  const long = ["multiline", "textarea"].includes(schema.format ?? "") || given.includes("\n");
  const secret = schema.format === "password" || schema.writeOnly === true;
  const control = long
    ? h("textarea", { rows: 6, spellcheck: "false", value: given })
    : h("input", {
        type: secret ? "password" : "text",
        autocomplete: "off",
        spellcheck: "false",
        value: given,
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

/** @type {BuildInput} */
function buildChoices(schema, { required, value }) {
  const chosen = Array.isArray(value) ? value : [];
  const boxes = (choicesOf(schema.items) ?? []).map((choice) => ({
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
 *
 * @type {BuildInput}
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
  /** @type {number[]} */
  let lineOfItem = [];
  return {
    control,
    hint: "One per line.",
    place: ([index]) =>
      lineOfItem[Number(index)] === undefined ? null : `Line ${lineOfItem[Number(index)]}`,
    read() {
      const lines = control.value
        .split("\n")
        .map((text, index) => ({
          text: text.replace(/\r$/, ""),
          line: index + 1,
        }))
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

/** @type {BuildInput} */
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
        return {
          problem: `Invalid JSON: ${/** @type {SyntaxError} */ (error).message}`,
        };
      }
    },
  };
}

/**
 * All parameters as one JSON document.
 *
 * @param {JsonSchema} schema
 * @param {Params?} [initial]
 * @returns {ParamsForm}
 */
function jsonForm(schema, initial) {
  const input = buildJson(schema, {
    required: false,
    value: initial ?? schema.default ?? {},
  });
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
      return {
        value: /** @type {Params} */ (value),
        problems: problem ? [{ pointer: "", message: problem }] : [],
      };
    },
    showProblems: (errors) => distribute([entry], errors),
  };
}

// ---- problems ----------------------------------------------------------------------------

/** @param {{ pointer: string, input: Input, field: Field }[]} entries @param {Problem[]} errors */
function distribute(entries, errors) {
  /** @type {FieldProblems[]} */
  const atFields = entries.map(({ field }) => ({ field, messages: [] }));
  /** @type {Problem[]} */
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
  return {
    atFields: atFields.filter(({ messages }) => messages.length > 0),
    elsewhere,
  };
}

/** @param {string} part */
function escapePointer(part) {
  return part.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** @param {string} part */
function unescapePointer(part) {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

// ---- schemas ------------------------------------------------------------------------------

/**
 * Returns whether a form with one control per property is complete: otherwise it would hide
 * choices, or drop values without a field.
 *
 * @param {JsonSchema} schema
 * @param {object} properties
 * @param {Params?} [initial]
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
 *
 * @param {unknown} value
 * @returns {JsonSchema}
 */
function asSchema(value) {
  return typeof value === "object" && value !== null ? value : {};
}

/**
 * Returns a property's schema, with one reference into the same document resolved, as schemars
 * generates them.
 *
 * @param {unknown} schema
 * @param {JsonSchema} root
 */
function resolve(schema, root) {
  const own = asSchema(schema);
  const [, kind, name] = /^#\/(\$defs|definitions)\/([^/]+)$/.exec(own.$ref ?? "") ?? [];
  const shared = kind === "$defs" ? root.$defs : root.definitions;
  const target = kind ? asSchema(shared?.[unescapePointer(name)]) : {};
  return { ...target, ...own };
}

/** Returns the type, ignoring null; empty if there are several. @param {JsonSchema} [schema] */
function typeOf({ type } = {}) {
  const types = [type].flat().filter((one) => one !== "null");
  return (types.length === 1 && types[0]) || "";
}

/** Returns the values that a schema lists. @param {JsonSchema} [schema] */
function choicesOf(schema = {}) {
  if ("const" in schema) return [{ value: schema.const, label: choiceLabel(schema.const) }];
  if (Array.isArray(schema.enum))
    return schema.enum.map((value) => ({ value, label: choiceLabel(value) }));
  const parts = schema.oneOf ?? [];
  if (parts.length > 0 && parts.every((one) => "const" in asSchema(one))) {
    return parts.map((one) => ({
      value: one.const,
      label: one.title ?? one.description ?? choiceLabel(one.const),
    }));
  }
  return null;
}

/** @param {unknown} value @returns {string} */
function choiceLabel(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {JsonSchema} schema @param {boolean} required @returns {Reading} */
function emptyList(schema, required) {
  if (!required) return {};
  return (schema.minItems ?? 0) > 0 ? REQUIRED : { value: [] };
}

/** @param {JsonSchema} schema @param {Child} extra */
function hintFor(schema, extra) {
  const described =
    schema.description && /[.!?:]$/.test(schema.description)
      ? schema.description
      : schema.description && `${schema.description}.`;
  const parts = [described, extra].filter(Boolean);
  return parts.length === 0 ? null : parts.map((part, index) => [index > 0 ? " " : "", part]);
}

/** @param {JsonSchema} schema */
function range({ minimum, maximum }) {
  if (minimum !== undefined && maximum !== undefined) return `From ${minimum} to ${maximum}.`;
  if (minimum !== undefined) return `At least ${minimum}.`;
  if (maximum !== undefined) return `At most ${maximum}.`;
  return null;
}

/**
 * Returns the integer in a text, with all digits; 2 for `2.0`; undefined otherwise.
 *
 * @param {string} text
 */
function parseWhole(text) {
  if (/^-?\d+$/.test(text)) return parseNumber(text);
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

/** @param {unknown} value */
function asText(value) {
  return String(value ?? "");
}

/** @param {unknown} a @param {unknown} b */
function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
