// Take part from this page: choose examples, train on them here, contribute weights, use the model.

import { lineChart } from "./charts.js";
import { chooser } from "./chooser.js";
import { bytes, count, figure, grouped, h, show, titleOf } from "./dom.js";
import { Participant } from "./participant.js";
import { getJson } from "./session.js";
import * as learning from "./training.js";
import { tryOut } from "./tryout.js";

const id = location.pathname.split("/")[2];
const main = document.getElementById("main");
const sign = document.getElementById("live");
const task = await getJson(`/tasks/${id}`).catch((error) => {
  main.append(h("h1", {}, "This task cannot be joined"), h("p", { class: "note bad" }, error.message));
  throw error;
});
const training = task.trainingInformation;
document.title = `Join ${titleOf(task)} · Disco`;

const status = h("p", { class: "note", role: "status" }, "Choose your examples to begin.");
const progress = h("progress", { max: 1, value: 0, "aria-label": "Training", hidden: true });
const charts = h("div", { class: "charts" });
const traffic = h("dl", { class: "figures" });
const messages = h("tbody", {});
const usual = Math.max(1, Math.ceil((training.epochs ?? 1) / training.roundDuration));
const rounds = h("input", { id: "rounds", type: "number", min: 1, max: 1000, value: usual });
const figuresToo = h("input", { id: "figures-too", type: "checkbox" });
const start = h("button", { type: "button", class: "primary", disabled: true, onclick: () => run() }, "Train and contribute");
const stop = h("button", { type: "button", disabled: true, onclick: () => halt() }, "Stop");

const epochs = [];
const judged = [];
let model = null;
let data = null;
let participant = null;
let stopping = false;

const step = (number, title, ...content) =>
  h("section", { class: "panel", "aria-labelledby": `step-${number}` }, h("h2", { id: `step-${number}` }, `${number}. ${title}`), ...content);
const use = tryOut(task, () => ({ model, scale: data?.scale ?? null }));

main.append(
  h(
    "div",
    { class: "stack" },
    h("p", {}, h("a", { href: `/tasks/${id}` }, `← ${titleOf(task)}`)),
    h("h1", {}, `Join ${titleOf(task)}`),
    h("p", { class: "lead" }, "The model trains in this page, on your examples. They never leave it: only the model's weights are sent, and the box “What is sent” counts every byte."),
    training.scheme === "decentralized" ? h("p", { class: "note warn" }, "This task prefers to be trained between peers. From this page you take part in its federated session, in which the server averages the weights.") : null,
  ),
  h(
    "div",
    { class: "columns" },
    h(
      "div",
      { class: "stack" },
      step(1, "Your examples", chooser(task, () => model, take)),
      step(
        2,
        "Train together",
        h("div", { class: "row ends" }, h("div", { class: "field" }, h("label", { for: "rounds" }, "Rounds"), rounds), start, stop),
        status,
        progress,
        charts,
      ),
      step(3, "Use the model", use.element),
    ),
    h("div", { class: "stack" }, sentPanel()),
  ),
);

function sentPanel() {
  return h(
    "section",
    { class: "panel", "aria-labelledby": "sent" },
    h("h2", { id: "sent" }, "What is sent"),
    h("p", { class: "small" }, "In each round: one message with the model's weights as they are after training on your examples. No example, file name or label is in it. Weights can still tell something about what they were trained on; the server sees yours before it averages them."),
    h("label", { class: "check small", for: "figures-too" }, figuresToo, "Also tell how many examples you have, and the loss and accuracy on those kept for judging"),
    traffic,
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Messages" },
      h("table", {}, h("caption", { class: "visually-hidden" }, "Messages, newest first"), h("thead", {}, h("tr", {}, ["", "Message", "Size"].map((name) => h("th", { scope: "col" }, name || h("span", { class: "visually-hidden" }, "Direction"))))), messages),
    ),
  );
}

function showTraffic() {
  show(
    traffic,
    model ? figure("Parameters", grouped(learning.parameters(model))) : null,
    figure("Sent", bytes(participant?.sent.bytes ?? 0)),
    figure("Received", bytes(participant?.received.bytes ?? 0)),
    participant?.joined ? figure("Participants", participant.participants) : null,
    participant?.joined ? figure("Round", participant.round) : null,
  );
}

function tell(text, kind = "") {
  status.className = `note ${kind}`;
  status.textContent = text;
}

function hear(news) {
  if (news.kind === "sent" || news.kind === "heard") {
    messages.prepend(h("tr", {}, h("td", {}, news.kind === "sent" ? "↑ sent" : "↓ received"), h("td", { class: "mono" }, news.type), h("td", {}, bytes(news.bytes))));
    while (messages.childElementCount > 50) messages.lastElementChild.remove();
  }
  if (news.kind === "verdict" && news.outcome !== "accepted") tell(`The server did not count this contribution: ${news.reason}`, "warn");
  if (news.kind === "closed") sign.textContent = "";
  showTraffic();
}

/** Take the examples that were chosen: {inputs, targets, scale}, or null after a mistake. */
function take(chosen) {
  for (const part of [data?.train, data?.test]) if (part) tf.dispose(part);
  data = null;
  start.disabled = !chosen;
  if (!chosen) return;
  const shape = learning.inputShape(model);
  const parts = learning.divide(chosen.inputs, chosen.targets, training.validationSplit);
  data = {
    scale: chosen.scale,
    count: parts.train[0].length,
    train: learning.tensors(parts.train, shape),
    test: parts.test[0].length ? learning.tensors(parts.test, shape) : null,
  };
  tell(`${count(data.count, "example")} to train on, ${parts.test[0].length} to judge by. Ready.`);
}

async function run() {
  start.disabled = true;
  stop.disabled = false;
  stopping = false;
  rounds.disabled = true;
  progress.hidden = false;
  tell("Connecting…");
  try {
    await trainTogether(Math.max(1, Number(rounds.value) || 1));
    tell(stopping ? "Stopped. The model as it is now can be used below." : "Done. The model can be used below.", "good");
  } catch (error) {
    tell(stopping ? "Stopped." : `Training ended: ${error.message}.`, stopping ? "" : "bad");
  }
  participant?.leave();
  progress.hidden = true;
  rounds.disabled = false;
  stop.disabled = true;
  start.disabled = !data;
}

async function trainTogether(wanted) {
  participant = new Participant(id, { onnews: hear });
  const { weights } = await participant.join();
  sign.dataset.state = "live";
  sign.textContent = "connected";
  if (weights) learning.writeWeights(model, weights);
  use.enable();
  await judge();
  for (let done = 0; done < wanted && !stopping; done++) {
    if (participant.waiting) tell(`Waiting for more participants: ${participant.participants} of ${training.minNbOfParticipants} are here.`);
    await participant.enough();
    await trainRound(done, wanted);
  }
}

async function trainRound(done, wanted) {
  tell(`Round ${participant.round}: training on your examples…`);
  const before = epochs.length;
  await learning.train(model, data.train, training, (epoch) => {
    epochs.push(epoch);
    progress.value = (done + (epochs.length - before) / training.roundDuration) / wanted;
    draw();
  }, () => stopping);
  if (stopping) return;
  const mine = figuresToo.checked ? await said() : {};
  tell(`Round ${participant.round}: sent. Waiting for the others' contributions…`);
  const result = await participant.contribute(await learning.readWeights(model), mine);
  learning.writeWeights(model, result.weights);
  progress.value = (done + 1) / wanted;
  await judge();
}

/** What the box allows to be told beside the weights. */
async function said() {
  const figures = await learning.evaluate(model, data.test);
  return { samples: data.count, ...(figures ? { metrics: figures } : {}) };
}

/** Judge the global model on the examples that nobody trained on here. */
async function judge() {
  const figures = await learning.evaluate(model, data.test ?? data.train);
  judged.push([participant.round, figures]);
  draw();
}

function draw() {
  const three = (value) => value.toPrecision(3);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const line = (name, read) => ({ name, points: epochs.map((epoch, index) => [index + 1, read(epoch)]) });
  show(
    charts,
    lineChart("Loss while training", [line("loss", (epoch) => epoch.loss)], three, { xName: "Epoch" }),
    lineChart("Accuracy while training", [line("accuracy", (epoch) => epoch.accuracy)], percent, { xName: "Epoch", top: 1 }),
    lineChart(
      data.test ? "The shared model, on examples kept for judging" : "The shared model, on your examples",
      [{ name: "accuracy", points: judged.map(([round, figures]) => [round, figures.accuracy]) }],
      percent,
      { top: 1 },
    ),
  );
}

function halt() {
  stopping = true;
  participant?.leave();
}

showTraffic();
try {
  model = await learning.loadModel(task);
  showTraffic();
  use.ready();
} catch (error) {
  tell(`The model cannot be loaded: ${error.message}`, "bad");
}
