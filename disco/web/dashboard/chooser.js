// Where examples are chosen from disk: a CSV file, or images with their labels.

import { count, h, show } from "./dom.js";
import { labelOf, readPicture } from "./pictures.js";
import { readTable, scaled, scaleOf } from "./tables.js";
import { inputShape, outputCount } from "./training.js";

/** Make the chooser of a task; `take` gets {inputs, targets, scale}, or null when what was chosen cannot be used. */
export function chooser(task, model, take) {
  return task.dataType === "image" ? pictureChooser(task, model, take) : task.dataType === "tabular" ? tableChooser(task, model, take) : unsupported();
}

function unsupported() {
  return h("p", { class: "note warn" }, "Text tasks cannot be trained in this page yet; Python and Node participants can.");
}

/** Accept files that are dropped on an element. */
export function droppable(element, use) {
  const over = (on) => (event) => {
    event.preventDefault();
    element.classList.toggle("over", on);
  };
  element.addEventListener("dragover", over(true));
  element.addEventListener("dragleave", over(false));
  element.addEventListener("drop", (event) => {
    over(false)(event);
    use([...event.dataTransfer.files]);
  });
  return element;
}

/** Run `work`, showing what it returns, or its mistake, in `said`. */
async function trying(said, take, work) {
  try {
    said.className = "small";
    said.textContent = "Reading…";
    const { text, examples } = await work();
    take(examples);
    said.textContent = text;
  } catch (error) {
    take(null);
    said.className = "problem";
    said.textContent = error.message;
  }
}

function tableChooser(task, model, take) {
  const training = task.trainingInformation;
  const said = h("p", { class: "small", role: "status" });
  const input = h("input", { id: "csv", type: "file", accept: ".csv,text/csv", onchange: () => read(input.files[0]) });
  const standardize = h("input", { id: "standardize", type: "checkbox", onchange: () => read(chosen) });
  let chosen = null;

  async function read(file) {
    if (!file) return;
    chosen = file;
    await trying(said, take, async () => {
      const { inputs, targets, leftOut } = readTable(await file.text(), training, outputCount(model()));
      const scale = standardize.checked ? scaleOf(inputs) : null;
      const rows = scale ? inputs.map((row) => scaled(row, scale)) : inputs;
      const gone = leftOut ? `; ${count(leftOut, "row")} left out because a value is missing` : "";
      return { text: `${file.name}: ${count(rows.length, "row")}${gone}.`, examples: { inputs: rows, targets, scale } };
    });
  }
  return h(
    "div",
    { class: "stack" },
    task.displayInformation.dataFormatInformation ? h("p", {}, task.displayInformation.dataFormatInformation) : null,
    droppable(h("div", { class: "drop" }, h("label", { for: "csv" }, "A CSV file, its first line naming the columns: choose it, or drop it here"), input), ([file]) => read(file)),
    h("details", { class: "small" }, h("summary", {}, "The columns it must have"), h("p", { class: "mono" }, [...training.inputColumns, ...training.outputColumns].join(", "))),
    h("label", { class: "check", for: "standardize" }, standardize, "Standardize each input column to mean 0 and deviation 1, by your own rows. All participants of a session should do the same."),
    said,
  );
}

function pictureChooser(task, model, take) {
  const training = task.trainingInformation;
  const labels = training.LABEL_LIST;
  const normalize = (training.preprocessingFunctions ?? []).includes("normalize");
  const said = h("p", { class: "small", role: "status" });
  const found = new Map(labels.map((label) => [label, []]));
  const counts = new Map();

  async function add(files, label) {
    await trying(said, take, async () => {
      const lost = [];
      for (const file of files) {
        const its = label ?? labelOf(file, labels);
        if (its === null) lost.push(file.name);
        else found.get(its).push(await readPicture(file, inputShape(model()), normalize));
      }
      for (const [its, list] of found) show(counts.get(its), count(list.length, "image"));
      const inputs = labels.flatMap((its) => found.get(its));
      const targets = labels.flatMap((its, index) => found.get(its).map(() => labels.map((_, other) => Number(other === index))));
      if (!inputs.length) throw new Error("None of these files says its label: put them in a folder a label, or use the buttons below.");
      const gone = lost.length ? `; ${count(lost.length, "file")} without a label left out (${lost.slice(0, 3).join(", ")})` : "";
      return { text: `${count(inputs.length, "image")} of ${count(labels.filter((its) => found.get(its).length).length, "label")}${gone}.`, examples: { inputs, targets, scale: null } };
    });
  }
  const many = h("input", { id: "images", type: "file", multiple: true, accept: "image/*", onchange: () => add([...many.files]) });
  return h(
    "div",
    { class: "stack" },
    task.displayInformation.dataFormatInformation ? h("p", {}, task.displayInformation.dataFormatInformation) : null,
    droppable(h("div", { class: "drop" }, h("label", { for: "images" }, "Images whose names begin with their label, as in 7_a.png: choose them, or drop them here"), many), (files) => add(files)),
    h("details", {}, h("summary", {}, "Or choose images label by label"), h("div", { class: "fields" }, labels.map((label, index) => labelField(label, index, counts, add)))),
    said,
  );
}

function labelField(label, index, counts, add) {
  const input = h("input", { id: `label-${index}`, type: "file", multiple: true, accept: "image/*", onchange: () => add([...input.files], label) });
  const shown = h("span", { class: "small quiet" }, "0 images");
  counts.set(label, shown);
  return h("div", { class: "field" }, h("label", { for: `label-${index}` }, label), input, shown);
}
