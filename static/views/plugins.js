// The plugins: summary, capabilities, the version that is served, and the errors of broken ones.

import { may } from "../account.js";
import { api } from "../api.js";
import { h, patch, reconcile } from "../dom.js";
import { plural, prettyJson } from "../format.js";
import { href } from "../router.js";
import {
  canRun,
  needsList,
  noPluginsBox,
  pluginBadge,
  pluginError,
  pluginName,
  pluginWarnings,
  versionsList,
} from "../components/plugin.js";
import { createRefresher, listView, showError } from "../components/refresher.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 30_000;

const KINDS = { rhai: "Rhai playbook", wasm: "WASM component" };
const TARGETS = {
  each: "One job per target",
  all: "One job for all targets",
  none: "No target",
};

/** @type {CreateView} */
export function pluginsView({ signal }) {
  const cards = h("ul", { class: "cards" });
  const empty = h("div");
  const content = h("div", {}, cards, empty);
  const refresher = createRefresher({
    what: "the plugins",
    content,
    load,
    pause: () => REFRESH_MS,
    signal,
  });

  return listView("Plugins", refresher);

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const { plugins } = await api.listPlugins({ signal: turnSignal });
    reconcile(cards, plugins, {
      keyOf: ({ name, kind }) => `${kind}/${name}`,
      create: () => h("li", { class: "card" }),
      update: showCard,
    });
    patch(empty, plugins.length === 0 && noPluginsBox());
    const broken = plugins.filter(({ status }) => status === "broken").length;
    const compiling = plugins.filter(({ status }) => status === "compiling").length;
    const counts = [
      broken > 0 && `${broken} broken`,
      compiling > 0 && `${compiling} compiling`,
    ].filter(Boolean);
    return `${[plural(plugins.length, "plugin"), ...counts].join(", ")}.`;
  }
}

const shown = new WeakMap();

/** @param {HTMLElement} card @param {PluginResponse} plugin */
function showCard(card, plugin) {
  // Keeps an unchanged card, and with it an open schema.
  const state = JSON.stringify(plugin);
  if (shown.get(card) === state) return;
  shown.set(card, state);
  const broken = plugin.status === "broken";
  card.classList.toggle("card-broken", broken);
  patch(
    card,
    h("h2", { class: "card-title" }, pluginName(plugin.name, plugin.digest), pluginBadge(plugin)),
    plugin.summary && h("p", {}, plugin.summary),
    broken && pluginError(plugin),
    pluginWarnings(plugin),
    h(
      "dl",
      { class: "facts facts-small" },
      fact("Kind", KINDS[plugin.kind]),
      plugin.targets && fact("Targets", TARGETS[plugin.targets]),
      plugin.loaded_at && fact("Loaded", relativeTime(plugin.loaded_at)),
    ),
    // A plugin that never loaded has declared nothing, which does not mean that it needs nothing.
    plugin.digest &&
      (plugin.needs
        ? [h("h3", { class: "minor" }, "Needs"), needsList(plugin.needs)]
        : unfolded("Needs", async () => needsList((await api.plugin(plugin.name)).needs))),
    plugin.params_schema
      ? h("details", {}, h("summary", {}, "Parameters schema"), schema(plugin))
      : plugin.digest &&
          unfolded("Parameters schema", async () => schema(await api.plugin(plugin.name))),
    plugin.digest &&
      unfolded("Versions", async () =>
        versionsList((await api.pluginVersions(plugin.name)).versions),
      ),
    h(
      "div",
      { class: "card-actions" },
      canRun(plugin) &&
        may("jobs.submit") &&
        h(
          "a",
          {
            class: "button button-primary",
            href: href("new", { plugin: plugin.name }),
          },
          "Submit a job",
        ),
      h("a", { class: "button", href: href("", { plugin: plugin.name }) }, "Its jobs"),
    ),
  );
}

/** @param {PluginResponse} plugin */
function schema(plugin) {
  return h("pre", { class: "code", tabindex: "0" }, prettyJson(plugin.params_schema));
}

/**
 * A disclosure with content that `load()` fetches when it is opened: long or growing lists.
 *
 * @param {string} title
 * @param {() => Promise<Child>} load
 */
function unfolded(title, load) {
  const content = h("div", {}, h("p", { class: "muted" }, "Loading…"));
  const details = h("details", {}, h("summary", {}, title), content);
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    try {
      patch(content, await load());
    } catch (error) {
      showError(content, error);
    }
  });
  return details;
}

/** @param {string} name @param {Child} value */
function fact(name, value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}
