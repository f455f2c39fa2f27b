// The front page: every task as a card, its state kept up to date.

import { company, count, h, previewOf, show, standing, titleOf } from "./dom.js";
import { listen } from "./live.js";
import { getJson } from "./session.js";

const main = document.getElementById("main");
const summary = h("p", { class: "lead" }, "Loading the tasks…");
const cards = h("ul", { class: "cards", "aria-label": "Tasks" });
main.append(h("div", {}, h("h1", {}, "Tasks"), summary), cards);

const known = new Map();

/** Make a card for each task; which there are changes seldom. */
async function load() {
  const tasks = await getJson("/tasks");
  const states = new Map([...known].map(([id, card]) => [id, card.state]));
  known.clear();
  cards.replaceChildren(
    ...tasks.map((task) => {
      const state = h("div", { class: "pills" });
      const figures = h("dl", { class: "figures" });
      known.set(task.id, { task, state: states.get(task.id), pills: state, figures });
      return h(
        "li",
        { class: "card", "data-task": task.id },
        h("h2", {}, h("a", { href: `/tasks/${task.id}` }, titleOf(task))),
        previewOf(task) ? h("p", { class: "quiet small" }, previewOf(task)) : null,
        state,
        figures,
      );
    }),
  );
  for (const card of known.values()) if (card.state) render(card, card.state);
}

function render(card, state) {
  const training = card.task.trainingInformation;
  card.state = state;
  show(
    card.pills,
    standing(state),
    h("span", { class: "pill" }, card.task.dataType),
    h("span", { class: "pill" }, training.scheme),
  );
  show(card.figures, company(state, training.scheme));
}

await load().catch((error) => summary.replaceChildren(`The tasks cannot be read: ${error.message}`));
listen("/events", async (states) => {
  if (states.length !== known.size || states.some((state) => !known.has(state.id))) await load();
  for (const state of states) if (known.has(state.id)) render(known.get(state.id), state);
  const present = states.reduce((sum, state) => sum + state.participants + state.peers, 0);
  show(
    summary,
    `${count(states.length, "task")} on this server, ${count(present, "participant")} here now. Data stays with its owners; only model updates travel.`,
  );
});
