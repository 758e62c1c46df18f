// Dialog for the answers to questions that a device asks at login, one row each.
//
// The server never sends a secret answer to the page. Its row shows that an answer is stored, and
// keeps it unless the user types another.

import { api, asApiError } from "../api.js";
import { button, h, patch, uniqueId } from "../dom.js";

const MAX_ANSWERS = 16;

/** Kinds of answers besides typed text: the connection's own fields. */
const CREDENTIALS = /** @type {const} */ (["username", "password", "secret"]);
const KINDS = {
  text: "Text",
  username: "User name",
  password: "Password",
  secret: "Enable secret",
};

/**
 * Opens the dialog for a connection of the API. Resolves to true if answers were saved.
 *
 * @param {Connection} connection
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>}
 */
export function answersDialog(connection, signal) {
  return new Promise((resolve) => {
    const titleId = uniqueId("dialog-title");
    const problem = h("div", { role: "alert" });
    const list = h("ol", { class: "answers" });
    const none = h("p", { class: "muted" }, "No answers yet.");
    const addButton = button({ onClick: () => add().focus() }, "Add a question");
    const cancelButton = button({ onClick: () => dialog.close() }, "Cancel");
    const saveButton = button({ type: "submit", class: "button button-primary" }, "Save");
    const dialog = h(
      "dialog",
      {
        class: "dialog dialog-wide",
        "aria-labelledby": titleId,
        onClose: finish,
        onCancel: (event) => busy && event.preventDefault(),
      },
      h("h2", { id: titleId }, `Answers for ${connection.name}`),
      h(
        "form",
        { onSubmit: save, novalidate: true },
        h(
          "div",
          { class: "dialog-body" },
          h(
            "p",
            { class: "muted" },
            "Answers to questions that the device asks at login, besides the password. A question is a regular expression; the first entry that matches the device's question is used, once.",
          ),
          none,
          list,
          h("div", {}, addButton),
        ),
        problem,
        h("div", { class: "dialog-actions" }, cancelButton, saveButton),
      ),
    );
    /** @type {ReturnType<typeof createRow>[]} */
    const rows = [];
    let busy = false;
    let done = false;

    connection.answers.forEach((answer) => add(answer));
    showCount();
    signal.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();

    /** @param {LoginAnswer} [answer] */
    function add(answer) {
      const row = createRow(answer, () => {
        rows.splice(rows.indexOf(row), 1);
        row.element.remove();
        showCount();
        addButton.focus();
      });
      rows.push(row);
      list.append(row.element);
      showCount();
      return row;
    }

    function showCount() {
      none.hidden = rows.length > 0;
      addButton.disabled = rows.length >= MAX_ANSWERS;
      rows.forEach((row, index) => row.number(index + 1));
    }

    /** @param {Event} event */
    async function save(event) {
      event.preventDefault();
      if (busy) return;
      setBusy(true);
      patch(problem);
      rows.forEach((row) => row.showProblems([]));
      try {
        // Loads the current version: it may have changed since the list was loaded.
        const { id, ...stored } = await api.connection(connection.id, {
          signal,
        });
        const answers = rows.map((row) => row.read());
        await api.replaceConnection(id, { ...writable(stored), answers });
        done = true;
        dialog.close();
      } catch (error) {
        setBusy(false);
        showErrors(asApiError(error));
      }
    }

    /** @param {ApiError} error */
    function showErrors(error) {
      /** @type {string[]} */
      const elsewhere = [];
      const problems = rows.map(() => /** @type {RowProblem[]} */ ([]));
      for (const { pointer, message } of error.errors) {
        const [, index, field] = /^\/answers\/(\d+)\/?(.*)$/.exec(pointer) ?? [];
        const ofRow = problems[Number(index)];
        if (ofRow) ofRow.push({ field, message });
        else elsewhere.push(`${pointer}: ${message}`);
      }
      problems.forEach((messages, index) => rows[index].showProblems(messages));
      const first = problems.findIndex((messages) => messages.length > 0);
      if (first >= 0) rows[first].focus();
      const words = elsewhere.length > 0 ? elsewhere : first >= 0 ? [] : [error.message];
      patch(
        problem,
        words.map((text) => h("p", { class: "notice notice-error" }, text)),
      );
    }

    /** @param {boolean} now */
    function setBusy(now) {
      busy = now;
      cancelButton.disabled = now;
      saveButton.disabled = now;
      addButton.disabled = now || rows.length >= MAX_ANSWERS;
      patch(saveButton, now ? "Saving…" : "Save");
    }

    function finish() {
      dialog.remove();
      resolve(done);
    }
  });
}

/**
 * Returns the part of a response that a request may contain.
 *
 * @param {Omit<Connection, "id">} stored
 */
function writable({ secrets_set, created_at, updated_at, ...body }) {
  return body;
}

/** @type {LoginAnswer} */
const NEW_ANSWER = { question: "", answer: "", secret: true, key: false };

/**
 * One answer: `{ element, read(), showProblems(problems), focus(), number(n) }`.
 *
 * @param {LoginAnswer | undefined} answer
 * @param {() => void} remove
 */
function createRow(answer = NEW_ANSWER, remove) {
  const problemId = uniqueId("problem");
  const problems = h("div", { class: "field-problem", id: problemId });
  const question = text("Question", answer.question, {
    placeholder: "Select a role",
  });
  const kind = control(
    "Answer is",
    h(
      "select",
      { onChange: show },
      Object.entries(KINDS).map(([value, label]) =>
        h("option", { value, selected: value === (answer.credential ?? "text") }, label),
      ),
    ),
  );
  const typed = text("Answer", answer.answer ?? "", {
    autocomplete: "new-password",
    placeholder: answer.set ? "stored; type to replace it" : "",
  });
  const secret = check("Secret", answer.secret || answer.credential !== undefined);
  const key = check("One key", answer.key);
  const removeButton = button(
    { class: "button button-small button-danger-quiet", onClick: remove },
    "Remove",
  );
  const element = h(
    "li",
    { class: "answer" },
    h("div", { class: "answer-fields" }, question.element, kind.element, typed.element),
    h("div", { class: "answer-options" }, secret.element, key.element, removeButton),
    problems,
  );
  for (const { input } of [question, kind, typed])
    input.setAttribute("aria-describedby", problemId);
  secret.input.addEventListener("change", show);
  show();

  return {
    element,
    focus: () => question.input.focus(),
    /** @param {number} position */
    number(position) {
      removeButton.setAttribute("aria-label", `Remove answer ${position}`);
    },
    /** @returns {LoginAnswerRequest} */
    read() {
      const entry = { question: question.input.value };
      const credential = CREDENTIALS.find((one) => one === kind.input.value);
      if (credential) return { ...entry, credential };
      const options = { secret: secret.input.checked, key: key.input.checked };
      const keeps = answer.set && typed.input.value === "";
      return keeps
        ? { ...entry, ...options, set: true }
        : { ...entry, ...options, answer: typed.input.value };
    },
    /** @param {RowProblem[]} messages */
    showProblems(messages) {
      patch(
        problems,
        messages.map(({ field, message }) => h("p", {}, field ? `${field}: ` : "", message)),
      );
      const wrong = messages.map(({ field }) => (field === "question" ? question : typed));
      for (const part of [question, typed]) {
        const { input } = part;
        if (wrong.includes(part)) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
    },
  };

  /**
   * Updates the row. A credential is stored with the connection, so its text and kind cannot be
   * edited.
   */
  function show() {
    const isText = kind.input.value === "text";
    for (const { element: part } of [typed, secret, key]) part.hidden = !isText;
    typed.input.type = secret.input.checked ? "password" : "text";
  }
}

/** @param {string} label @param {string} value @param {Attributes} attributes */
function text(label, value, attributes) {
  return control(
    label,
    h("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      value,
      ...attributes,
    }),
  );
}

/** @template {HTMLElement} E @param {string} label @param {E} input */
function control(label, input) {
  input.id = uniqueId("answer");
  return {
    input,
    element: h("div", { class: "answer-field" }, h("label", { for: input.id }, label), input),
  };
}

/** @param {string} label @param {boolean} checked */
function check(label, checked) {
  const input = h("input", {
    type: "checkbox",
    id: uniqueId("answer"),
    checked,
  });
  return {
    input,
    element: h("label", { class: "check", for: input.id }, input, h("span", {}, label)),
  };
}
