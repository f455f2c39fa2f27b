// Use the model on a row or a picture of one's own; nothing of it is sent.

import { h, show } from "./dom.js";
import { readPicture } from "./pictures.js";
import { readNumber, scaled } from "./tables.js";
import { inputShape, predict } from "./training.js";

/** Make the form; `current` returns {model, scale}. `ready` is called when there is a model, `enable` when it is trained. */
export function tryOut(task, current) {
  const training = task.trainingInformation;
  const said = h("div", { role: "status", class: "stack" });
  const hint = h("p", { class: "quiet" }, "The model is loading…");
  const form = task.dataType === "image" ? pictureForm() : task.dataType === "tabular" ? rowForm() : h("p", {}, "Not for text tasks yet.");
  form.hidden = true;

  async function answer(read) {
    try {
      const { model, scale } = current();
      const shape = inputShape(model);
      const input = await read(shape, scale);
      show(said, told(await predict(model, input, shape), task));
    } catch (error) {
      show(said, h("p", { class: "problem" }, error.message));
    }
  }

  function rowForm() {
    const inputs = training.inputColumns.map((column, index) => h("input", { id: `in-${index}`, inputmode: "decimal", autocomplete: "off" }));
    const submit = (event) => {
      event.preventDefault();
      answer((_, scale) => {
        const row = training.inputColumns.map((column, index) => readNumber(inputs[index].value.trim(), column, training));
        return scale ? scaled(row, scale) : row;
      });
    };
    return h(
      "form",
      { class: "stack", onsubmit: submit, novalidate: true },
      h("div", { class: "fields" }, training.inputColumns.map((column, index) => h("div", { class: "field" }, h("label", { for: `in-${index}` }, column), inputs[index]))),
      h("div", {}, h("button", { type: "submit" }, "Predict")),
    );
  }

  function pictureForm() {
    const normalize = (training.preprocessingFunctions ?? []).includes("normalize");
    const input = h("input", { id: "one-image", type: "file", accept: "image/*", onchange: () => input.files[0] && answer((shape) => readPicture(input.files[0], shape, normalize)) });
    return h("div", { class: "field" }, h("label", { for: "one-image" }, "A picture to classify"), input);
  }

  return {
    element: h("div", { class: "stack" }, hint, form, said),
    ready() {
      hint.textContent = "This is the server's model so far; train to improve it.";
      form.hidden = false;
    },
    enable() {
      hint.textContent = "The answer is computed in this page.";
    },
  };
}

/** Say what the outputs mean: a class with its probability, a yes or no, or numbers. */
function told(values, task) {
  const training = task.trainingInformation;
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const labels = training.LABEL_LIST;
  const names = labels?.length === values.length ? labels : values.length > 1 ? values.map((_, index) => training.outputColumns?.[index] ?? String(index)) : training.outputColumns;
  if (values.length === 1) {
    const binary = training.modelCompileData.loss === "binaryCrossentropy";
    const [value] = values;
    return [h("p", { class: "answer" }, binary ? `${names[0]}: ${value >= 0.5 ? "yes" : "no"} (${percent(value)})` : `${names[0]}: ${value.toPrecision(5)}`)];
  }
  const best = values.indexOf(Math.max(...values));
  const order = values.map((value, index) => [value, index]).sort((a, b) => b[0] - a[0]);
  return [
    h("p", { class: "answer" }, `${names[best]} (${percent(values[best])})`),
    h("p", { class: "small quiet" }, order.slice(1, 4).map(([value, index]) => `${names[index]} ${percent(value)}`).join(" · ")),
  ];
}
