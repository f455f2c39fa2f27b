// The form that adds a task. The server validates; what it finds wrong is shown at the fields.

import { droppable } from "./chooser.js";
import { bytes, h, show } from "./dom.js";
import { getJson } from "./session.js";

const main = document.getElementById("main");
const FIELDS = new Map();
const kindOnly = { image: [], tabular: [] };

/** One labelled field. `path` is where its value goes in the task, and where the server reports what is wrong. */
function field(path, label, { kind = "text", value = "", hint = null, only = null, choices = null, wide = false, long = false } = {}) {
  const id = path.replaceAll(".", "-");
  const attributes = { id, name: path, value, "aria-describedby": `${id}-note`, ...(kind === "number" ? { type: "number", step: "any" } : {}) };
  const input = choices ? h("select", attributes, choices.map((choice) => h("option", { value: choice, selected: choice === value }, choice))) : long ? h("textarea", attributes, value) : h("input", attributes);
  const problem = h("span", { class: "problem", id: `${id}-problem` });
  const element = h("div", { class: wide || long ? "field wide" : "field" }, h("label", { for: id }, label), input, h("span", { class: "small quiet", id: `${id}-note` }, hint ?? ""), problem);
  FIELDS.set(path, { input, problem, kind, only });
  if (only) kindOnly[only].push(element);
  return element;
}

const files = { model: null, weights: null };
const filesSaid = h("p", { class: "small", role: "status" }, "model.json and weights.bin, as tf.LayersModel.save writes them.");
const filesProblem = h("p", { class: "problem", id: "files-problem" });
const picker = h("input", { id: "files", type: "file", multiple: true, accept: ".json,.bin", "aria-describedby": "files-problem", onchange: () => takeFiles([...picker.files]) });
const summary = h("div", { role: "alert" });
const send = h("button", { type: "submit", class: "primary" }, "Add the task");

const form = h(
  "form",
  { class: "stack", novalidate: true, onsubmit: submit },
  droppable(h("div", { class: "drop panel" }, h("label", { for: "files" }, "The model: drop model.json and weights.bin here, or choose them"), picker, filesSaid, filesProblem), takeFiles),
  h(
    "fieldset",
    {},
    h("legend", {}, "What it is"),
    h(
      "div",
      { class: "fields" },
      field("task.taskID", "ID", { hint: "Letters, digits, _ and -; part of every address." }),
      field("task.displayInformation.taskTitle", "Title"),
      field("task.trainingInformation.dataType", "Data", { choices: ["tabular", "image"], value: "tabular" }),
      field("task.trainingInformation.scheme", "Scheme", { choices: ["federated", "decentralized"], value: "federated" }),
      field("task.displayInformation.summary.preview", "In one sentence", { wide: true }),
      field("task.displayInformation.summary.overview", "In a paragraph", { long: true }),
      field("task.displayInformation.dataFormatInformation", "What the data looks like", { wide: true }),
    ),
  ),
  h(
    "fieldset",
    {},
    h("legend", {}, "The data"),
    h(
      "div",
      { class: "fields" },
      field("task.trainingInformation.inputColumns", "Input columns", { kind: "list", only: "tabular", wide: true, hint: "Separated by commas, in the model's order." }),
      field("task.trainingInformation.outputColumns", "Output columns", { kind: "list", only: "tabular", hint: "Separated by commas." }),
      field("task.trainingInformation.LABEL_LIST", "Labels", { kind: "list", only: "image", wide: true, hint: "Separated by commas, in the order of the model's outputs." }),
      field("task.trainingInformation.IMAGE_H", "Height in pixels", { kind: "number", only: "image" }),
      field("task.trainingInformation.IMAGE_W", "Width in pixels", { kind: "number", only: "image" }),
    ),
  ),
  h(
    "fieldset",
    {},
    h("legend", {}, "How it is trained"),
    h(
      "div",
      { class: "fields" },
      field("task.trainingInformation.minNbOfParticipants", "Participants a round", { kind: "number", value: "2" }),
      field("task.trainingInformation.roundDuration", "Epochs a round", { kind: "number", value: "1" }),
      field("task.trainingInformation.epochs", "Epochs in all", { kind: "number", value: "10" }),
      field("task.trainingInformation.batchSize", "Batch size", { kind: "number", value: "32" }),
      field("task.trainingInformation.validationSplit", "Part kept for judging", { kind: "number", value: "0.2", hint: "0 to 1." }),
      field("task.trainingInformation.learningRate", "Learning rate", { kind: "number", hint: "Empty for the optimizer's own." }),
      field("task.trainingInformation.modelCompileData.optimizer", "Optimizer", { choices: ["adam", "sgd", "rmsprop"], value: "adam" }),
      field("task.trainingInformation.modelCompileData.loss", "Loss", { choices: ["binaryCrossentropy", "categoricalCrossentropy", "meanSquaredError"], value: "binaryCrossentropy" }),
    ),
  ),
  summary,
  h("div", { class: "row" }, send),
);
main.append(h("div", {}, h("h1", {}, "Add a task"), h("p", { class: "lead" }, "The task is stored and served at once, in both schemes. Adding tasks is for admins.")), form);

const kindOf = () => FIELDS.get("task.trainingInformation.dataType").input.value;
function showKind() {
  for (const [kind, elements] of Object.entries(kindOnly)) for (const element of elements) element.hidden = kind !== kindOf();
}
FIELDS.get("task.trainingInformation.dataType").input.addEventListener("change", showKind);
showKind();

function takeFiles(list) {
  for (const file of list) {
    if (file.name.endsWith(".json")) files.model = file;
    else if (file.name.endsWith(".bin")) files.weights = file;
  }
  const parts = [files.model, files.weights].map((file, index) => (file ? `${file.name}, ${bytes(file.size)}` : `${["model.json", "weights.bin"][index]} is missing`));
  filesSaid.textContent = `${parts.join("; ")}.`;
}

/** Read a field as the schema has it: absent if empty, a list, a number if it is one, else the text for the server to refuse. */
function valueOf({ input, kind }) {
  const text = input.value.trim();
  if (kind === "list") return text ? text.split(",").map((part) => part.trim()) : undefined;
  if (text === "") return undefined;
  return kind === "number" && Number.isFinite(Number(text)) ? Number(text) : text;
}

function readTask() {
  const task = { displayInformation: { summary: { preview: "", overview: "" } }, trainingInformation: { modelCompileData: { metrics: ["accuracy"] } } };
  for (const [path, entry] of FIELDS) {
    const value = valueOf(entry);
    if (value === undefined || (entry.only && entry.only !== kindOf())) continue;
    const names = path.split(".").slice(1);
    const last = names.pop();
    names.reduce((place, name) => (place[name] ??= {}), task)[last] = value;
  }
  task.trainingInformation.modelID = `${task.taskID ?? "task"}-model`;
  return task;
}

async function submit(event) {
  event.preventDefault();
  clear();
  send.disabled = true;
  try {
    const body = JSON.stringify({ task: readTask(), ...(await readFiles()) });
    const made = await getJson("/tasks", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    location.assign(made.address);
  } catch (error) {
    refuse(error);
  } finally {
    send.disabled = false;
  }
}

async function readFiles() {
  const body = {};
  if (files.model) {
    try {
      body.model = JSON.parse(await files.model.text());
    } catch {
      throw Object.assign(new Error("1 problem"), { fields: [{ path: "model", problem: `${files.model.name} is not JSON` }] });
    }
  }
  if (files.weights) body.weights = base64(new Uint8Array(await files.weights.arrayBuffer()));
  return body;
}

function base64(data) {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}

function clear() {
  filesProblem.textContent = "";
  show(summary);
  for (const { input, problem } of FIELDS.values()) {
    input.removeAttribute("aria-invalid");
    problem.textContent = "";
  }
}

/** Show each problem at its field, those of the files at the files, the rest in a list; and go to the first. */
function refuse(error) {
  const rest = [];
  let first = null;
  for (const { path, problem } of error.fields ?? []) {
    const place = [...FIELDS.keys()].find((name) => path === name || path.startsWith(`${name}[`) || path.startsWith(`${name}.`));
    if (place) {
      const entry = FIELDS.get(place);
      entry.problem.textContent += `${entry.problem.textContent ? "; " : ""}${problem}`;
      entry.input.setAttribute("aria-invalid", "true");
      entry.input.setAttribute("aria-describedby", `${entry.input.id}-note ${entry.problem.id}`);
      first ??= entry.input;
    } else if (/^(model|weights)/.test(path)) {
      filesProblem.textContent += `${filesProblem.textContent ? "; " : ""}${path} ${problem}`;
      first ??= picker;
    } else rest.push(`${path} ${problem}`);
  }
  const fields = error.fields?.length ?? 0;
  show(
    summary,
    h("div", { class: "note bad" }, h("p", {}, fields ? `The task was not added: ${fields} ${fields === 1 ? "problem" : "problems"}.` : `The task was not added: ${error.message}`), rest.length ? h("ul", {}, rest.map((text) => h("li", {}, text))) : null),
  );
  first?.focus();
}
