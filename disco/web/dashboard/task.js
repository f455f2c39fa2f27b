// One task: what it is, who is here, how its rounds went, and how to take part.

import { lineChart } from "./charts.js";
import { company, count, grouped, h, previewOf, seconds, show, standing, titleOf } from "./dom.js";
import { recipes } from "./recipes.js";
import { listen } from "./live.js";
import { controls } from "./controls.js";
import { downloadLink, getJson } from "./session.js";

const id = location.pathname.split("/")[2];
const base = `/tasks/${id}`;
const main = document.getElementById("main");
const task = await getJson(base).catch((error) => {
  main.append(h("h1", {}, "This task cannot be shown"), h("p", { class: "note bad" }, error.message));
  throw error;
});
const training = task.trainingInformation;
document.title = `${titleOf(task)} · Disco`;

const pills = h("div", { class: "pills" });
const figures = h("dl", { class: "figures" });
const people = h("div", { class: "stack" });
const charts = h("div", { class: "charts" });
const refusals = h("div", {});
const downloads = h("div", { class: "stack" });
const admin = controls(base, titleOf(task));

main.append(
  h(
    "div",
    { class: "stack" },
    h("div", { class: "row spread" }, h("h1", {}, titleOf(task)), h("a", { class: "button primary", href: `${base}/join` }, "Join from this browser")),
    previewOf(task) ? h("p", { class: "lead" }, previewOf(task)) : null,
    pills,
  ),
  h(
    "div",
    { class: "columns" },
    h(
      "div",
      { class: "stack" },
      panel("Now", figures, people),
      panel("Rounds", charts),
      panel("Take part", ...recipes(task)),
      panel("Refused", h("p", { class: "quiet small" }, "Contributions and signals that did not count, newest first, with what their sender was told."), refusals),
    ),
    h("div", { class: "stack" }, panel("About", about()), panel("Downloads", downloads), panel("Manage", admin.element)),
  ),
);

function panel(title, ...content) {
  const name = `panel-${title.toLowerCase().replaceAll(" ", "-")}`;
  return h("section", { class: "panel", "aria-labelledby": name }, h("h2", { id: name }, title), ...content);
}

function about() {
  const display = task.displayInformation;
  const parts = [
    [null, display.summary?.overview],
    ["Model", display.model],
    ["Data", display.dataFormatInformation],
    ["Example", display.dataExampleText],
    ["Trade-offs", display.tradeoffs],
    ["Limitations", display.limitations],
  ];
  const facts = [
    ["Parameters", grouped(task.state.parameters)],
    ["Participants needed", training.minNbOfParticipants],
    ["Epochs a round", training.roundDuration],
    ["Batch size", training.batchSize],
    ["Aggregation", training.aggregationStrategy],
  ];
  return h(
    "div",
    { class: "stack" },
    parts.filter(([, text]) => text).map(([name, text]) => h("div", {}, name ? h("h3", {}, name) : null, h("p", {}, text))),
    h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, facts.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, String(value))))))),
    training.inputColumns ? h("details", {}, h("summary", {}, `${count(training.inputColumns.length, "input column")}, to predict ${training.outputColumns.join(", ")}`), h("p", { class: "mono" }, training.inputColumns.join(", "))) : null,
    training.LABEL_LIST ? h("details", {}, h("summary", {}, count(training.LABEL_LIST.length, "label")), h("p", { class: "mono" }, training.LABEL_LIST.join(", "))) : null,
  );
}

function render(state) {
  show(pills, standing(state), h("span", { class: "pill" }, task.dataType), h("span", { class: "pill" }, training.scheme));
  show(figures, company(state, training.scheme));
  show(people, reason(state), unjudged(state), present(state), state.hubs.filter((hub) => hub.count).map(hubOf), nobody(state));
  show(refusals, state.refusals.length ? refused(state.refusals) : h("p", {}, "None since the server started."));
  admin.update(state);
}

function present(state) {
  if (!state.participants) return null;
  const done = new Set(state.contributors);
  return h(
    "div",
    {},
    h("h3", {}, "Here now"),
    chips("Participants", state.present, state.participants, (name) => (done.has(name) ? [true, "has contributed"] : [false, "is training"])),
  );
}

function hubOf(hub) {
  const ready = new Set(hub.ready);
  return h(
    "div",
    {},
    h("h3", {}, `Peers speaking ${hub.dialect}, round ${hub.round}`),
    chips(`Peers speaking ${hub.dialect}`, hub.present, hub.count, (name) => (ready.has(name) ? [true, "is ready"] : [false, "is not ready yet"])),
  );
}

/** Short IDs, those that are done marked for the eye and for the ear. */
function chips(label, names, total, standingOf) {
  return h(
    "ul",
    { class: "chips", "aria-label": label },
    names.map((name) => {
      const [done, words] = standingOf(name);
      return h("li", { class: done ? "done" : null }, name, done ? " ✓" : "", h("span", { class: "visually-hidden" }, ` ${words}`));
    }),
    total > names.length ? h("li", {}, `and ${total - names.length} more`) : null,
  );
}

/** Why the task does not train; a disk that is full, say, or an end that was reached. */
function reason(state) {
  if (!state.reason) return null;
  return h("p", { class: `note ${state.state === "ended" ? "" : "warn"}` }, state.reason);
}

/** Why the newest round has no figures of the task's scorer; training goes on without them. */
function unjudged(state) {
  return state.evaluation.trouble ? h("p", { class: "note warn" }, `Evaluation: ${state.evaluation.trouble}`) : null;
}

function nobody(state) {
  if (state.participants || state.peers) return null;
  const closed = state.closedAt ? `The last round closed ${new Date(state.closedAt * 1000).toLocaleString()}. ` : "";
  return h("p", { class: "quiet" }, `${closed}Nobody is here now.`);
}

function refused(list) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Refused contributions" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["When", "Who", "Outcome", "Reason"].map((name) => h("th", { scope: "col" }, name)))),
      h(
        "tbody",
        {},
        list.slice(0, 30).map((one) =>
          h(
            "tr",
            {},
            h("td", {}, new Date(one.at * 1000).toLocaleTimeString()),
            h("td", { class: "mono" }, one.participant),
            h("td", {}, h("span", { class: `pill ${one.outcome === "rejected" ? "bad" : "warn"}` }, one.outcome)),
            h("td", {}, one.reason),
          ),
        ),
      ),
    ),
  );
}

/** Draw the rounds' figures again; asked for when a round has closed, not for every event. */
async function drawRounds() {
  const { rounds, best } = await getJson(`${base}/rounds`);
  const closed = rounds.filter((round) => round.contributions);
  const line = (name, read) => ({ name, points: closed.map((round) => [round.round, read(round)]) });
  const names = [...new Set(rounds.flatMap((round) => Object.keys(round.figures)))].filter((name) => name !== "restored");
  const evaluated = (name) => ({ name, points: rounds.filter((round) => name in round.figures).map((round) => [round.round, round.figures[name]]) });
  const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));
  show(
    charts,
    closed.length
      ? [
          lineChart("Seconds a round took", [line("seconds", (round) => round.seconds)], seconds),
          lineChart("Participants", [line("present", (round) => round.participants), line("contributed", (round) => round.contributions)], number),
          ...names.map((name) => lineChart(name, [evaluated(name)], number)),
        ]
      : h("p", { class: "quiet" }, training.scheme === "decentralized" ? "Peers' rounds pass the server by: it keeps no figures and no models of them." : "No round has closed yet. A round closes when everybody who is here has contributed."),
  );
  const kept = rounds.filter((round) => round.onDisk).reverse();
  show(downloads, links(kept, best));
  admin.offer(kept.map((round) => round.round));
}

function links(kept, best) {
  const round = kept[0]?.round ?? 0;
  const link = (href, text) => h("li", {}, downloadLink(href, text));
  return [
    h("ul", {}, link(`${base}/model.json?format=tfjs`, "model.json"), link(`${base}/weights.bin`, "weights.bin"), link(`${base}/export?format=npz`, `round ${round} as .npz (NumPy)`), link(`${base}/export?format=safetensors`, `round ${round} as .safetensors`), best === null ? null : h("li", { class: "best" }, `Best round so far, ${best}: `, downloadLink(`${base}/export?format=npz&round=best`, "npz"), " ", downloadLink(`${base}/export?format=safetensors&round=best`, "safetensors"))),
    kept.length > 1
      ? h(
          "details",
          {},
          h("summary", {}, "Earlier rounds"),
          h("ul", {}, kept.slice(1).map((one) => h("li", {}, `Round ${one.round}: `, downloadLink(`${base}/export?format=npz&round=${one.round}`, "npz"), " ", downloadLink(`${base}/export?format=safetensors&round=${one.round}`, "safetensors")))),
        )
      : null,
  ];
}

let drawn = null;
await drawRounds();
listen(`${base}/events`, (state) => {
  render(state);
  const judged = `${state.closedAt} ${state.evaluation.round} ${Object.keys(state.evaluation.figures)} ${state.best}`;
  if (judged !== drawn) {
    drawn = judged;
    drawRounds();
  }
});
