// Submission of a job: plugin, targets, parameters from the plugin's schema. `?plugin=` preselects;
// `?from=` starts with an earlier job's plugin, targets and parameters.

import { api, asApiError, newIdempotencyKey } from "../api.js";
import { button, h, patch } from "../dom.js";
import { isRounded } from "../json.js";
import { href, jobHref, navigate, replaceAddress } from "../router.js";
import { createField } from "../components/field.js";
import { createParamsForm } from "../components/form.js";
import { canRun, needsList, noPluginsBox, pluginError } from "../components/plugin.js";
import { createRefresher } from "../components/refresher.js";
import { createTargetPicker } from "../components/target-picker.js";
import { createProblems } from "./submit/problems.js";

const TARGET_RULES = {
  each: "One job per selected device; several make a batch.",
  all: "One job for all selected devices.",
  none: "",
};

/** @type {CreateView} */
export function submitView({ query, signal, flash }) {
  const content = h("div");
  const refresher = createRefresher({
    what: "the plugins",
    content,
    load,
    signal,
  });
  let built = false;

  return {
    title: "Submit a job",
    element: h(
      "div",
      {},
      h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Submit a job")),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh() {
      // Restoring the connection must not discard a half-filled form.
      if (!built) refresher.refresh();
    },
  };

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const options = { signal: turnSignal };
    const from = query.get("from");
    const [{ plugins }, { connections }, earlier] = await Promise.all([
      api.listPlugins(options),
      api.allConnections(options),
      from ? api.job(from, options) : null,
    ]);
    built = true;
    const wanted = earlier?.plugin ?? query.get("plugin") ?? "";
    patch(
      content,
      plugins.length === 0
        ? noPluginsBox()
        : createSubmitForm({
            plugins,
            connections,
            earlier,
            wanted,
            signal,
            flash,
          }),
    );
  }
}

/**
 * Returns the form, with the plugin `wanted` selected and filled in from the job `earlier`.
 *
 * @param {SubmitOptions} options
 */
function createSubmitForm({ plugins, connections, earlier, wanted, signal, flash }) {
  // A rounded number is a different number: the form must not be filled with it.
  const rounded = isRounded(earlier?.params);
  /** @type {PluginResponse?} */
  let plugin = null;
  let params = createParamsForm(null);
  let attempt = { body: "", key: "" };

  /** @type {HTMLSelectElement} */
  const select = h(
    "select",
    { onChange: () => choose(select.value) },
    h("option", { value: "" }, "Choose…"),
    plugins.map(pluginOption),
  );
  const pluginField = createField({
    label: "Plugin",
    required: true,
    control: select,
  });
  const about = h("div", { class: "plugin-about" });
  const targets = createTargetPicker(connections, earlier?.targets ?? []);
  const paramsBox = h("div");
  const description = h("input", {
    type: "text",
    autocomplete: "off",
    value: earlier?.description ?? "",
  });
  const descriptionField = createField({
    label: "Description",
    hint: "The purpose of this job, shown in the list.",
    control: description,
  });
  const problems = createProblems({
    plugin: pluginField,
    targets,
    description: descriptionField,
  });
  const submit = button({ type: "submit", class: "button button-primary" }, "Submit job");
  const rest = h(
    "div",
    {},
    targets.element,
    paramsBox,
    descriptionField.element,
    h("div", { class: "form-actions" }, submit),
  );

  const known = plugins.some(({ name }) => name === wanted);
  if (known) select.value = wanted;
  choose(known ? wanted : "");
  if (wanted && !known) pluginField.showProblems([`Plugin ${wanted} not found.`]);
  return h(
    "form",
    { class: "form", novalidate: true, onSubmit: send },
    earlier && filledInFrom(earlier.id, rounded),
    problems.element,
    pluginField.element,
    about,
    rest,
  );

  /** @param {string} name */
  async function choose(name) {
    const chosen = plugins.find((one) => one.name === name) ?? null;
    pluginField.showProblems([]);
    problems.clear();
    if (!chosen?.cut) return show(chosen);
    // The list omits long schemas.
    show(null);
    try {
      const whole = await api.plugin(name, { signal });
      if (select.value === name) show(whole);
    } catch (error) {
      const { kind, message } = asApiError(error);
      if (kind !== "aborted") pluginField.showProblems([message]);
    }
  }

  /** @param {PluginResponse?} chosen */
  function show(chosen) {
    plugin = chosen;
    rest.hidden = !chosen || !canRun(chosen);
    patch(about, chosen ? aboutPlugin(chosen) : plugins.filter((one) => !canRun(one)).map(broken));
    if (!chosen) return;
    const { name, targets: mode, params_schema: schema } = chosen;
    if (!earlier) replaceAddress(href("new", { plugin: name }));
    targets.element.hidden = mode === "none";
    targets.setRule(mode ? TARGET_RULES[mode] : "The devices of this job.");
    targets.field.showProblems([]);
    const isSame = earlier?.plugin === name && !rounded;
    params = createParamsForm(schema, isSame ? earlier.params : undefined);
    paramsBox.replaceChildren(
      h("h2", {}, "Parameters"),
      params.count === 0
        ? h("p", { class: "muted" }, "This plugin takes no parameters.")
        : params.element,
    );
  }

  /** Returns the job of the form, and what is wrong with it. @param {PluginResponse} chosen */
  function read({ name, targets: mode }) {
    const { value, problems } = params.read();
    /** @type {CreateJob} */
    const body = { plugin: name, params: value };
    /** @type {Problem[]} */
    const found = [];
    if (mode !== "none") {
      body.targets = targets.read();
      if (body.targets.length === 0)
        found.push({
          pointer: "/targets",
          message: "Select at least one device.",
        });
    }
    for (const { pointer, message } of problems)
      found.push({ pointer: `/params${pointer}`, message });
    if (isRounded(value))
      found.push({
        pointer: "/params",
        message: "This browser does not support all digits of a number in the parameters.",
      });
    if (description.value.trim()) body.description = description.value.trim();
    return { body, found };
  }

  /** @param {Event} event */
  async function send(event) {
    event.preventDefault();
    if (!plugin)
      return problems.show([{ pointer: "/plugin", message: "Choose a plugin." }], params);
    const { body, found } = read(plugin);
    problems.show(found, params);
    if (found.length > 0) return;

    // Sending the same input again, for example after a timeout, must not create a second job.
    const text = JSON.stringify(body);
    if (attempt.body !== text) attempt = { body: text, key: newIdempotencyKey() };
    setBusy(true);
    try {
      const { id } = await api.submitJob(body, attempt.key);
      flash("Job submitted.");
      if (!signal.aborted) navigate(jobHref(id));
    } catch (caught) {
      const error = asApiError(caught);
      problems.show(error.errors, params, error);
    } finally {
      setBusy(false);
    }
  }

  /** @param {boolean} now */
  function setBusy(now) {
    submit.disabled = now;
    patch(submit, now ? "Submitting…" : "Submit job");
  }
}

/** @param {string} id @param {boolean} rounded */
function filledInFrom(id, rounded) {
  return [
    h(
      "div",
      { class: "notice" },
      h(
        "p",
        {},
        "Filled in from job ",
        h("a", { href: jobHref(id) }, h("code", {}, id)),
        ". Submitting creates a new job.",
      ),
    ),
    rounded &&
      h(
        "p",
        { class: "notice notice-warning" },
        "The parameters are not filled in, because they contain numbers with more digits than this browser supports. Type them, or use a newer browser.",
      ),
  ];
}

/** @param {PluginResponse} plugin */
function pluginOption(plugin) {
  const { name, status } = plugin;
  const runs = canRun(plugin);
  const label = status === "broken" ? `${name} (broken${runs ? ", last good version" : ""})` : name;
  return h("option", { value: name, disabled: !runs }, label);
}

/** @param {PluginResponse} plugin */
function aboutPlugin(plugin) {
  return [
    plugin.summary && h("p", {}, plugin.summary),
    plugin.status === "broken" && pluginError(plugin),
    h("div", { class: "needs-box" }, h("h2", { class: "minor" }, "Needs"), needsList(plugin.needs)),
  ];
}

/** The reason why a plugin cannot be selected. @param {PluginResponse} plugin */
function broken(plugin) {
  return h(
    "details",
    { class: "broken" },
    h("summary", {}, `${plugin.name} is broken`),
    pluginError(plugin),
  );
}
