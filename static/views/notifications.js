// Notifications of ended jobs: pending, sent and abandoned ones, with the errors.

import { may } from "../account.js";
import { api } from "../api.js";
import { button, h, patch } from "../dom.js";
import { plural } from "../format.js";
import { jobHref } from "../router.js";
import { createRefresher, emptyBox, listView, showError } from "../components/refresher.js";
import { createTable } from "../components/table.js";
import { relativeTime } from "../components/time.js";

const REFRESH_MS = 10_000;
const STATES = { waiting: "Waiting", sent: "Sent", given_up: "Abandoned" };

/** @type {Column<NotificationResponse>[]} */
const COLUMNS = [
  { label: "Message", render: ({ subject }) => subject, header: true },
  { label: "Channel", render: ({ channel }) => channel },
  { label: "State", render: ({ state }) => STATES[state] },
  { label: "Created", render: ({ created_at: at }) => relativeTime(at) },
  { label: "Attempts", render: ({ attempts }) => attempts },
  { label: "Next attempt", render: ({ next_at: at }) => relativeTime(at) },
  { label: "Last error", render: ({ last_error: error }) => error ?? "–" },
  {
    label: "Job",
    render: ({ job_id: job }) => h("a", { class: "job-link", href: jobHref(job) }, "job"),
  },
];

/** @type {CreateView} */
export function notificationsView({ signal, flash }) {
  const table = createTable({
    caption: "Notifications",
    columns: COLUMNS,
    keyOf: ({ id }) => id,
  });
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

  return listView(
    "Notifications",
    refresher,
    h(
      "p",
      { class: "view-note muted" },
      "Channels and rules are defined in ",
      h("code", {}, "[notifications]"),
      " of the server's configuration.",
    ),
  );

  /** @param {ChannelHealth} channel */
  function channel({ name, kind, status, last_error: error }) {
    return h(
      "li",
      {},
      h("strong", {}, name),
      ` (${kind}) `,
      status !== "healthy" && h("span", { class: "health-bad" }, `${error} `),
      may("notifications.test") &&
        button(
          {
            "aria-label": `Test ${name}`,
            onClick: ({ currentTarget }) => test(currentTarget, name),
          },
          "Test",
        ),
    );
  }

  /** @param {HTMLButtonElement} pressed @param {string} name */
  async function test(pressed, name) {
    pressed.disabled = true;
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
      showError(problem, error);
    } finally {
      pressed.disabled = false;
    }
  }

  /** @param {AbortSignal} turnSignal */
  async function load(turnSignal) {
    const [{ notifications }, health] = await Promise.all([
      api.listNotifications({ signal: turnSignal }),
      api.health({ signal: turnSignal }),
    ]);
    patch(channels, (health.notifications?.channels ?? []).map(channel));
    table.update(notifications);
    patch(
      empty,
      notifications.length === 0 &&
        emptyBox("No notifications yet.", h("p", {}, "Rules define which jobs to notify of.")),
    );
    return `${plural(notifications.length, "notification")}.`;
  }
}
