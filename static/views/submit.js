// Submission of a job: plugin, targets, parameters from the plugin's schema. `?plugin=` preselects;
// `?from=` starts with an earlier job's plugin, targets and parameters.

import { api, newIdempotencyKey } from "../api.js";
import { h, patch } from "../dom.js";
import { isRounded } from "../json.js";
import { href, jobHref, navigate, replaceAddress } from "../router.js";
import { createField } from "../components/field.js";
import { createParamsForm } from "../components/form.js";
import { canRun, needsList, pluginError } from "../components/plugin.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createTargetPicker } from "../components/target-picker.js";

const TARGET_RULES = {
  each: "One job per selected device; several make a batch.",
  all: "One job for all selected devices.",
};

export function submitView({ query, signal, flash }) {
  const content = h("div");
  const refresher = createRefresher({ what: "the plugins", content, load, signal });
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

  async function load(turnSignal) {
    const options = { signal: turnSignal };
    const from = query.get("from");
    const [{ plugins }, { connections }, earlier] = await Promise.all([
      api.listPlugins(options),
      api.allConnections(options),
      from ? api.job(from, options) : null,
    ]);
    built = true;
    if (plugins.length === 0) {
      patch(
        content,
        emptyBox(
          "No plugins.",
          h(
            "p",
            {},
            "Put a playbook (",
            h("code", {}, "*.rhai"),
            ") into the scripts directory, or a component (",
            h("code", {}, "*.wasm"),
            ") into the plugins directory.",
          ),
        ),
      );
      return;
    }
    patch(
      content,
      createSubmitForm({
        plugins,
        connections,
        earlier,
        wanted: earlier?.plugin ?? query.get("plugin"),
        signal,
        flash,
      }),
    );
  }
}

function createSubmitForm({ plugins, connections, earlier, wanted, signal, flash }) {
  // A rounded number is a different number: the form must not be filled with it.
  const rounded = earlier !== null && isRounded(earlier.params);
  let plugin = null;
  let params = null;
  /** @type {{ body: string?, key: string? }} */
  let attempt = { body: null, key: null };

  const select = h(
    "select",
    { onChange: () => choose(select.value) },
    h("option", { value: "" }, "Choose…"),
    plugins.map(pluginOption),
  );
  const pluginField = createField({ label: "Plugin", required: true, control: select });
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
  const summary = h("div", { class: "problem-summary", tabindex: "-1" });
  const submit = h("button", { type: "submit", class: "button button-primary" }, "Submit job");
  const rest = h(
    "div",
    {},
    targets.element,
    paramsBox,
    descriptionField.element,
    h("div", { class: "form-actions" }, submit),
  );

  const form = h(
    "form",
    { class: "form", novalidate: true, onSubmit: send },
    earlier &&
      h(
        "p",
        { class: "notice" },
        "Filled in from job ",
        h("a", { href: jobHref(earlier.id) }, h("code", {}, earlier.id)),
        ". Submitting creates a new job.",
      ),
    rounded &&
      h(
        "p",
        { class: "notice notice-warning" },
        "The parameters are not filled in, because they contain numbers with more digits than this browser supports. Type them, or use a newer browser.",
      ),
    summary,
    pluginField.element,
    about,
    rest,
  );

  const known = plugins.find(({ name }) => name === wanted);
  if (known) select.value = wanted;
  choose(known ? wanted : "");
  if (wanted && !known) pluginField.showProblems([`Plugin ${wanted} not found.`]);
  return form;

  async function choose(name) {
    const chosen = plugins.find((one) => one.name === name) ?? null;
    pluginField.showProblems([]);
    patch(summary);
    if (!chosen?.cut) return show(name, chosen);
    // The list omits long schemas.
    show("", null);
    try {
      const whole = await api.plugin(name, { signal });
      if (select.value === name) show(name, whole);
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      if (error.kind !== "aborted") pluginField.showProblems([error.message]);
    }
  }

  function show(name, chosen) {
    plugin = chosen;
    rest.hidden = !plugin || !canRun(plugin);
    patch(about, plugin ? aboutPlugin(plugin) : brokenOnes(plugins));
    if (!plugin) return;
    if (!earlier) replaceAddress(href("new", { plugin: name }));
    targets.element.hidden = plugin.targets === "none";
    targets.setRule(TARGET_RULES[plugin.targets] ?? "The devices of this job.");
    targets.field.showProblems([]);
    params = createParamsForm(
      plugin.params_schema,
      earlier?.plugin === name && !rounded ? earlier.params : undefined,
    );
    paramsBox.replaceChildren(
      h("h2", {}, "Parameters"),
      params.count === 0
        ? h("p", { class: "muted" }, "This plugin takes no parameters.")
        : params.element,
    );
  }

  async function send(event) {
    event.preventDefault();
    if (!plugin) return showProblems([{ pointer: "/plugin", message: "Choose a plugin." }]);

    const answer = params.read();
    const problems = answer.problems.map(({ pointer, message }) => ({
      pointer: `/params${pointer}`,
      message,
    }));
    const body = { plugin: plugin.name, params: answer.value };
    if (plugin.targets !== "none") {
      body.targets = targets.read();
      if (body.targets.length === 0)
        problems.unshift({ pointer: "/targets", message: "Select at least one device." });
    }
    if (isRounded(answer.value))
      problems.push({
        pointer: "/params",
        message: "This browser does not support all digits of a number in the parameters.",
      });
    if (description.value.trim()) body.description = description.value.trim();
    if (problems.length > 0) return showProblems(problems);
    showProblems([]);

    // Sending the same input again, for example after a timeout, must not create a second job.
    const text = JSON.stringify(body);
    if (attempt.body !== text) attempt = { body: text, key: newIdempotencyKey() };
    setBusy(true);
    try {
      const { id } = await api.submitJob(body, attempt.key);
      flash("Job submitted.");
      if (!signal.aborted) navigate(jobHref(id));
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      showProblems(error.errors ?? [], error);
    } finally {
      setBusy(false);
    }
  }

  function setBusy(now) {
    submit.disabled = now;
    patch(submit, now ? "Submitting…" : "Submit job");
  }

  /** Shows each problem at its field, and above the form the error with links to the fields. */
  /** @param {{ message: string }?} error */
  function showProblems(problems, error = null) {
    const below = (stem) =>
      problems
        .filter(({ pointer }) => pointer === stem || pointer?.startsWith(`${stem}/`))
        .map(({ pointer, message }) => ({ pointer: pointer.slice(stem.length), message }));
    const fixed = [
      {
        field: pluginField,
        messages: [...below("/plugin"), ...below("/job_type")].map(({ message }) => message),
      },
      {
        field: targets.field,
        messages: below("/targets").map(({ pointer, message }) => targetProblem(pointer, message)),
      },
      { field: descriptionField, messages: below("/description").map(({ message }) => message) },
    ];
    for (const { field, messages } of fixed) field.showProblems(messages);
    const inParams = params?.showProblems([...below("/params"), ...below("/payload")]) ?? {
      atFields: [],
      elsewhere: [],
    };

    const atFields = [...fixed.filter(({ messages }) => messages.length > 0), ...inParams.atFields];
    const stems = ["/plugin", "/job_type", "/targets", "/description", "/params", "/payload"];
    const elsewhere = [
      ...inParams.elsewhere.map(({ pointer, message }) => ({
        pointer: `/params${pointer}`,
        message,
      })),
      ...problems.filter(
        ({ pointer }) => !stems.some((stem) => pointer === stem || pointer?.startsWith(`${stem}/`)),
      ),
    ];
    if (!error && atFields.length === 0 && elsewhere.length === 0) return patch(summary);

    const line = ({ field, messages }) =>
      h(
        "li",
        {},
        h("button", { type: "button", class: "link", onClick: () => field.focus() }, field.label),
        `: ${messages.join("; ")}`,
      );
    const lines = [
      ...atFields.map(line),
      ...elsewhere.map(({ pointer, message }) =>
        h("li", {}, pointer ? [h("code", {}, pointer), ": "] : "", message),
      ),
    ];
    summary.replaceChildren(
      h(
        "div",
        { class: "notice notice-error", role: "alert" },
        h(
          "p",
          {},
          h("strong", {}, "The job was not submitted."),
          error && lines.length === 0 ? ` ${error.message}` : "",
        ),
        lines.length > 0 && h("ul", {}, lines),
      ),
    );
    if (atFields.length > 0) atFields[0].field.focus();
    else {
      summary.focus();
      summary.scrollIntoView({ block: "nearest" });
    }
  }

  function targetProblem(pointer, message) {
    const name = targets.read()[Number(pointer.slice(1))];
    return pointer && name ? `${name}: ${message}` : message;
  }
}

function pluginOption(plugin) {
  const label =
    plugin.status === "broken"
      ? `${plugin.name} (broken${canRun(plugin) ? ", last good version" : ""})`
      : plugin.name;
  return h("option", { value: plugin.name, disabled: !canRun(plugin) }, label);
}

function aboutPlugin(plugin) {
  return [
    plugin.summary && h("p", {}, plugin.summary),
    plugin.status === "broken" && pluginError(plugin),
    h("div", { class: "needs-box" }, h("h2", { class: "minor" }, "Needs"), needsList(plugin.needs)),
  ];
}

/** Before a plugin is selected: the reasons why some plugins cannot be. */
function brokenOnes(plugins) {
  return plugins
    .filter((plugin) => !canRun(plugin))
    .map((plugin) =>
      h(
        "details",
        { class: "broken" },
        h("summary", {}, `${plugin.name} is broken`),
        pluginError(plugin),
      ),
    );
}
