// What an admin can do to a task: pause, resume, roll back. The server decides who is one.

import { h } from "./dom.js";
import { getJson } from "./session.js";

/** Make the controls; `update` is told the task's state, and `offer` the rounds that are on disk. */
export function controls(base, title) {
  let paused = false;
  const said = h("p", { role: "status", class: "small" });
  const pause = h("button", { type: "button", onclick: () => act(paused ? "resume" : "pause") }, "Pause");
  const rounds = h("select", { id: "rollback-round" });
  const back = h("button", { type: "button", class: "danger", disabled: true, onclick: () => ask() }, "Roll back…");
  const question = h("p", {});
  const dialog = h(
    "dialog",
    { "aria-labelledby": "rollback-title" },
    h(
      "div",
      { class: "stack" },
      h("h2", { id: "rollback-title" }, "Roll back?"),
      question,
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { type: "button", class: "primary", onclick: () => rollBack() }, "Roll back")),
    ),
  );
  const element = h(
    "div",
    { class: "stack" },
    h("p", { class: "quiet small" }, "For admins. Participants are told and let go while the task is paused."),
    h("div", { class: "row" }, pause),
    h("div", { class: "field" }, h("label", { for: "rollback-round" }, "Go back to round"), h("div", { class: "row" }, rounds, back)),
    said,
    dialog,
  );

  async function act(deed, body) {
    said.className = "small";
    said.textContent = "…";
    try {
      const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) };
      const answer = await getJson(`${base}/${deed}`, options);
      said.textContent = deed === "rollback" ? `Round ${answer.round} now has the model of round ${answer.restored}.` : "Done.";
    } catch (error) {
      said.className = "problem";
      said.textContent = error.message;
    }
  }
  function ask() {
    question.textContent = `The model of round ${rounds.value} of ${title} becomes the newest, as a new round. Nothing is deleted; what was contributed to the open round is dropped.`;
    dialog.showModal();
  }
  function rollBack() {
    dialog.close();
    act("rollback", { round: Number(rounds.value) });
  }
  return {
    element,
    update(state) {
      paused = state.paused;
      pause.textContent = paused ? "Resume" : "Pause";
    },
    offer(numbers) {
      const chosen = rounds.value;
      rounds.replaceChildren(...numbers.map((number) => h("option", { value: number }, String(number))));
      if (numbers.includes(Number(chosen)) && chosen) rounds.value = chosen;
      back.disabled = !numbers.length;
    },
  };
}
