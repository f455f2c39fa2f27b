// usage: node main.mjs URL
//   Drives any number of clients, as a page with several would. Each line of standard input is a command
//   {"id": 1, "client": "a", "do": "exchange", …arguments}; each is answered when it is done with a line
//   {"id": 1, "result": …}. What would be an uncaught exception in a real client ends the process with status 1.
import { createInterface } from "node:readline";
import { DecentralizedClient, FederatedClient } from "./client.mjs";
import { readModel, writeModel, writeWeights } from "./wire.mjs";

const [base] = process.argv.slice(2);
const clients = new Map();

/** Tensors as JSON; float32 values survive it. */
const plain = (value) =>
  JSON.stringify(value, (_, field) => (field instanceof Float32Array ? Array.from(field) : field));

function create({ client, task, dialect, scheme = "federated" }) {
  const Kind = scheme === "federated" ? FederatedClient : DecentralizedClient;
  const made = new Kind(client, base, task, dialect, scheme);
  clients.set(client, made);
  return made;
}

const commands = {
  connect: (_, given) => create(given).connect(),
  /** Opens a socket and says nothing. */
  async open(_, given) {
    const made = create(given);
    await made.load();
    await made.open();
    made.round = 0;
  },
  /** Takes what a server could have sent: texts as they are, and bytes in hexadecimal. */
  receive(_, { messages, ...given }) {
    const made = create(given);
    for (const { text, hex } of messages) {
      const isBinary = hex !== undefined;
      made.receive(Buffer.from(isBinary ? hex : text, isBinary ? "hex" : "utf8"), isBinary);
    }
  },
  heard: (client) => client.heard.map(([type, fields]) => [type, fields.nbOfParticipants ?? null]),
  state: ({ id, round, weights, participants, enough }) => ({ id, round, weights, participants, waiting: !!enough }),
  until: (client, { type, count }) => client.until(type, count),
  signals: (client) => client.heard.filter(([type]) => type === "SignalForPeer").map(([, fields]) => fields),
  async leave(client, { client: name }) {
    clients.delete(name);
    await client.leave();
  },
  async model(_, { task }) {
    const response = await fetch(`${base}/tasks/${task}/model.json`);
    const { kind, weights, config } = readModel(new Uint8Array(await response.arrayBuffer()));
    return { kind, weights, config };
  },
  /** Posts a task as the v3 or the v4 client does, with the model of another task or a GPT. */
  async post(_, { dialect, task, modelOf, gpt }) {
    const tensors = gpt?.weights.map(({ shape, data }) => ({ shape, data: Float32Array.from(data) }));
    const model = gpt
      ? writeModel(1, writeWeights(tensors), gpt.config)
      : new Uint8Array(await (await fetch(`${base}/tasks/${modelOf}/model.json`)).arrayBuffer());
    // v3 hands fetch() a string, which makes it text/plain, and its bytes become objects of indices.
    const weights = dialect === "v3" ? writeWeights(readModel(model).weights) : undefined;
    const body = dialect === "v3" ? { task, model, weights } : { task, model: Array.from(model) };
    const headers = dialect === "v3" ? {} : { "Content-Type": "application/json" };
    const response = await fetch(`${base}/tasks`, { method: "POST", body: JSON.stringify(body), headers });
    return { status: response.status, answer: await response.json() };
  },
};

async function obey(line) {
  const { id, client, do: verb, ...given } = JSON.parse(line);
  const subject = clients.get(client);
  const perform = commands[verb] ?? ((subject, given) => subject[verb](given));
  process.stdout.write(`${plain({ id, result: (await perform(subject, { client, ...given })) ?? null })}\n`);
}

process.on("unhandledRejection", (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
createInterface({ input: process.stdin }).on("line", (line) => void obey(line)).on("close", () => process.exit(0));
