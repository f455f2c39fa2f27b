// The task's model in TensorFlow.js: trained on examples that stay here, and used on one of one's own.

/* global tf */

import { credentials } from "./session.js";

const OPTIMIZERS = { sgd: "sgd", rmsprop: "rmsprop", adam: "adam", adagrad: "adagrad", adamax: "adamax" };
const RATE = { sgd: 0.01, rmsprop: 0.001, adam: 0.001, adagrad: 0.01, adamax: 0.002 };

/** Load a task's model and make it ready to train. */
export async function loadModel(task) {
  const model = await tf.loadLayersModel(`/tasks/${task.id}/model.json?format=tfjs`, { requestInit: { headers: credentials() } });
  if (isSmall(model)) await tf.setBackend("cpu");
  const { optimizer, loss, metrics } = task.trainingInformation.modelCompileData;
  const name = OPTIMIZERS[optimizer.toLowerCase()];
  if (!name) throw new Error(`The task's optimizer, ${optimizer}, is not one of ${Object.keys(OPTIMIZERS).join(", ")}.`);
  const rate = task.trainingInformation.learningRate ?? RATE[name];
  model.compile({ optimizer: tf.train[name](rate), loss, metrics: metrics.length ? metrics : ["accuracy"] });
  return model;
}

/** Whether the model is so small that handing it to a graphics card, or to what stands for one, costs more than it saves. */
const isSmall = (model) => model.countParams() < 100_000 && !model.layers.some((layer) => /conv|pool|rnn|lstm|gru/i.test(layer.getClassName()));

export const inputShape = (model) => model.inputs[0].shape.slice(1);
export const outputCount = (model) => model.outputs[0].shape.at(-1);
export const parameters = (model) => model.countParams();

/** The model's weights, copied out: what a contribution consists of. */
export async function readWeights(model) {
  return Promise.all(model.getWeights().map(async (tensor) => ({ shape: tensor.shape, data: await tensor.data() })));
}

/** Put other weights into the model. */
export function writeWeights(model, tensors) {
  tf.tidy(() => model.setWeights(tensors.map(({ shape, data }) => tf.tensor(data, shape))));
}

/** Part examples into those to train on and those to judge by, always in the same way for the same number. */
export function divide(inputs, targets, part) {
  const order = inputs.map((_, index) => index);
  let seed = 42;
  for (let index = order.length - 1; index > 0; index--) {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    const other = seed % (index + 1);
    [order[index], order[other]] = [order[other], order[index]];
  }
  const judged = Math.floor(inputs.length * part);
  const take = (list, indices) => indices.map((index) => list[index]);
  const [test, train] = [order.slice(0, judged), order.slice(judged)];
  return { train: [take(inputs, train), take(targets, train)], test: [take(inputs, test), take(targets, test)] };
}

/** Make tensors of examples; `shape` is that of one input. */
export function tensors([inputs, targets], shape) {
  const flat = new Float32Array(inputs.length * shape.reduce((a, b) => a * b, 1));
  inputs.forEach((input, index) => flat.set(input, index * (flat.length / inputs.length)));
  return { xs: tf.tensor(flat, [inputs.length, ...shape]), ys: tf.tensor2d(targets) };
}

/** Train for some epochs; `onepoch` is told {epoch, loss, accuracy}. `stopped` is asked after each batch. */
export async function train(model, { xs, ys }, training, onepoch, stopped) {
  await model.fit(xs, ys, {
    epochs: training.roundDuration,
    batchSize: Math.min(training.batchSize, xs.shape[0]),
    shuffle: true,
    yieldEvery: 100,
    callbacks: {
      onBatchEnd: () => { if (stopped()) model.stopTraining = true; },
      onEpochEnd: async (epoch, logs) => {
        onepoch({ epoch, loss: logs.loss, accuracy: logs.acc });
        await tf.nextFrame();
      },
    },
  });
}

/** Judge the model on examples; null if there are none. */
export async function evaluate(model, examples) {
  if (!examples) return null;
  const figures = model.evaluate(examples.xs, examples.ys, { batchSize: 64 });
  const [loss, accuracy] = await Promise.all([figures].flat().map(async (one) => (await one.data())[0]));
  tf.dispose(figures);
  return { loss, accuracy };
}

/** Predict from one input; returns the model's outputs. */
export async function predict(model, input, shape) {
  const output = tf.tidy(() => model.predict(tf.tensor(input, [1, ...shape])));
  const values = [...(await output.data())];
  output.dispose();
  return values;
}
