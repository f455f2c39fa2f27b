// A participant in a page: TensorFlow.js from npm, the server's model over CORS, today's wire over a WebSocket.
// The job comes from /job.json: {server, task, rows, labels, learningRate, rounds, epochs}. What happens is POSTed to
// /report, in order.
"use strict";

const FLOAT32_ARRAY = 0x17;
const codec = new MessagePack.ExtensionCodec();
codec.register({
  type: FLOAT32_ARRAY,
  encode: (value) =>
    value instanceof Float32Array ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null,
  decode: (bytes) => new Float32Array(bytes.slice().buffer),
});

const report = (event, fields = {}) =>
  fetch("/report", { method: "POST", body: JSON.stringify({ event, ...fields }) });
const fail = (error) => report("failed", { why: String(error?.stack ?? error) });
addEventListener("error", (event) => fail(event.error ?? event.message));
addEventListener("unhandledrejection", (event) => fail(event.reason));

/** A WebSocket whose messages are awaited one by one, by their type. */
class Server {
  static open(url) {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve(new Server(socket));
      socket.onerror = () => reject(new Error(`${url} cannot be reached`));
    });
  }

  constructor(socket) {
    this.socket = socket;
    this.waiting = new Map();
    socket.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer)) throw new Error("a text frame");
      const message = MessagePack.decode(new Uint8Array(data));
      this.waiting.get(message.type)?.(message);
    };
    socket.onclose = ({ code, reason }) => fail(`the server closed with ${code}: ${reason}`);
  }

  hear(type) {
    return new Promise((resolve) => this.waiting.set(type, resolve));
  }

  say(type, fields = {}) {
    this.socket.send(MessagePack.encode({ type, ...fields }));
  }
}

const tensors = (model) => model.getWeights().map((tensor) => ({ shape: tensor.shape, data: tensor.dataSync() }));
const plain = (weights) => weights.map(({ shape, data }) => ({ shape, data: Array.from(data) }));
const adopt = (model, payload) => {
  const weights = MessagePack.decode(payload, { extensionCodec: codec });
  model.setWeights(weights.map(({ shape, data }) => tf.tensor(data, shape)));
};

async function main() {
  const job = await (await fetch("/job.json")).json();
  await tf.setBackend("cpu");
  const model = await tf.loadLayersModel(`${job.server}/tasks/${job.task}/model.json?format=tfjs`);
  model.compile({ optimizer: tf.train.adam(job.learningRate), loss: "binaryCrossentropy" });
  const xs = tf.tensor2d(job.rows);
  const ys = tf.tensor2d(job.labels, [job.labels.length, 1]);
  const loss = () => model.evaluate(xs, ys).dataSync()[0];

  const server = await Server.open(`ws${job.server.slice(4)}/federated/${job.task}`);
  const enough = server.hear("EnoughParticipants");
  const answer = server.hear("NewFederatedNodeInfo");
  server.say("ClientConnected");
  let { round, payload, waitForMoreParticipants } = await answer;
  if (payload !== null) adopt(model, payload);
  report("joined", { round, loss: loss(), weights: plain(tensors(model)) });
  if (waitForMoreParticipants) await enough;

  for (let done = 0; done < job.rounds; done++) {
    await model.fit(xs, ys, { epochs: job.epochs, batchSize: 16, shuffle: false, verbose: 0 });
    const sent = tensors(model);
    const aggregated = server.hear("ReceiveServerPayload");
    server.say("SendPayload", { payload: MessagePack.encode(sent, { extensionCodec: codec }), round });
    const result = await aggregated;
    round = result.round;
    adopt(model, result.payload);
    await report("round", { round, loss: loss(), sent: plain(sent), weights: plain(tensors(model)) });
  }
  await report("done");
}
void main();
