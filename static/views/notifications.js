// Notifications of ended jobs: pending, sent and abandoned ones, with the errors.

import { api } from "../api.js";
import { h, patch } from "../dom.js";
import { plural } from "../format.js";
import { href } from "../router.js";
import { createRefresher, emptyBox } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 10_000;
const STATES = { waiting: "Waiting", sent: "Sent", given_up: "Abandoned" };

export function notificationsView({ signal, flash }) {
  const columns = [
    { label: "Message", render: ({ subject }) => subject, header: true },
    { label: "Channel", render: ({ channel }) => channel },
    { label: "State", render: ({ state }) => STATES[state] ?? state },
    { label: "Created", render: ({ created_at: at }) => relativeTime(at) },
    { label: "Attempts", render: ({ attempts }) => String(attempts) },
    { label: "Next attempt", render: ({ next_at: at }) => (at ? relativeTime(at) : "–") },
    { label: "Last error", render: ({ last_error: error }) => error ?? "–" },
    {
      label: "Job",
      render: ({ job_id: job }) => h("a", { class: "job-link", href: href(`jobs/${job}`) }, "job"),
    },
  ];
  const table = createTable({ caption: "Notifications", columns, keyOf: ({ id }) => id });
  const channels = h("ul", { class: "channels", "aria-label": "Channels" });
  const problem = h("div", { role: "alert" });
  const empty = h("div");
  const content = h("div", {}, problem, channels, table.element, empty);
  const refresher = createRefresher({
    what: "the notifications",
    content,
    load,
    pause: () => REFRESH_MS,
    signal,
  });

  return {
    title: "Notifications",
    element: h(
      "div",
      {},
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Notifications"),
        refresher.controls,
      ),
      h(
        "p",
        { class: "view-note muted" },
        "Channels and rules are defined in ",
        h("code", {}, "[notifications]"),
        " of the server's configuration.",
      ),
      refresher.element,
    ),
    ready: refresher.ready,
    refresh: refresher.refresh,
  };

  function channel({ name, kind, status, last_error: error }) {
    return h(
      "li",
      {},
      h("strong", {}, name),
      ` (${kind}) `,
      status !== "healthy" && h("span", { class: "health-bad" }, `${error} `),
      h(
        "button",
        {
          type: "button",
          class: "button",
          "aria-label": `Test ${name}`,
          onClick: (event) => test(event, name),
        },
        "Test",
      ),
    );
  }

  async function test(event, name) {
    const button = event.currentTarget;
    button.disabled = true;
    patch(problem);
    try {
      const { ok, error } = await api.testChannel(name);
      if (ok) flash(`Test message sent to ${name}.`);
      else
        patch(
          problem,
          h("p", { class: "notice notice-error" }, `Failed to send to ${name}: ${error}`),
        );
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      patch(problem, h("p", { class: "notice notice-error" }, error.message));
    } finally {
      button.disabled = false;
    }
  }

  async function load(turnSignal) {
    const [{ notifications }, health] = await Promise.all([
      api.listNotifications({ signal: turnSignal }),
      // An unhealthy server still reports the state of its channels.
      api.health({ signal: turnSignal }).catch((error) => error.body ?? Promise.reject(error)),
    ]);
    patch(channels, (health.notifications?.channels ?? []).map(channel));
    table.update(notifications);
    table.element.hidden = notifications.length === 0;
    patch(
      empty,
      notifications.length === 0 &&
        emptyBox("No notifications yet.", h("p", {}, "Rules define which jobs to notify of.")),
    );
    return `${plural(notifications.length, "notification")}.`;
  }
}
