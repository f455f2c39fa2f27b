// How to join a task from the web, Node and Python, ready to copy.

import { h } from "./dom.js";

const origin = location.origin;

const python = (task) => `# pip install disco-server
from disco.participant import BlockingParticipant

with BlockingParticipant("${origin}", "${task.id}") as participant:
    for _ in range(10):                        # rounds
        weights = participant.weights          # numpy float32 arrays
        weights = train(weights)               # yours, on your own data
        participant.exchange(weights)          # the next global model`;

const pythonPeer = (task) => `# pip install 'disco-server[peer]'
import io
import urllib.request

import numpy as np
import trio
from disco.participant import Peer

SERVER = "${origin}"


async def main():
    model = urllib.request.urlopen(f"{SERVER}/tasks/${task.id}/export?format=npz")
    weights = list(np.load(io.BytesIO(model.read())).values())
    async with Peer(SERVER, "${task.id}") as peer:
        for _ in range(10):                    # rounds
            weights = train(weights)           # yours, on your own data
            weights = await peer.exchange(weights)


trio.run(main)`;

function shell(task) {
  const extra = task.trainingInformation.scheme === "decentralized" ? "sklearn,peer" : "sklearn";
  const data = task.dataType === "image" ? "images/  # a folder for each label" : "data.csv";
  return `pip install 'disco-server[${extra}]'
disco join ${task.id} --server ${origin} --data ${data}`;
}

const node = (task) => `// npm install @tensorflow/tfjs @msgpack/msgpack ws
import { decode, encode, ExtensionCodec } from "@msgpack/msgpack";
import * as tf from "@tensorflow/tfjs";
import WebSocket from "ws";

const extensionCodec = new ExtensionCodec();
extensionCodec.register({
  type: 0x17, // the float32 values of a tensor
  encode: (it) => (it instanceof Float32Array ? new Uint8Array(it.buffer, it.byteOffset, it.byteLength) : null),
  decode: (bytes) => new Float32Array(bytes.slice().buffer),
});
const pack = (value) => encode(value, { extensionCodec });
const unpack = (bytes) => decode(new Uint8Array(bytes), { extensionCodec });

const model = await tf.loadLayersModel("${origin}/tasks/${task.id}/model.json?format=tfjs");
const socket = new WebSocket("${origin.replace(/^http/, "ws")}/federated/${task.id}");
socket.binaryType = "arraybuffer";
socket.onopen = () => socket.send(pack({ type: "ClientConnected" }));

let round, last, left = 10; // rounds
socket.onmessage = async ({ data }) => {
  const message = unpack(data);
  if (message.payload) model.setWeights(unpack(message.payload).map(({ shape, data }) => tf.tensor(data, shape)));
  round = message.round ?? round;
  const goes = ["NewFederatedNodeInfo", "EnoughParticipants", "ReceiveServerPayload"].includes(message.type);
  if (!goes || message.waitForMoreParticipants || round === last) return;
  if (left-- === 0) return socket.close();
  last = round;
  await train(model); // yours: model.compile(…) once, and model.fit(…) on your own data
  const payload = model.getWeights().map((tensor) => ({ shape: tensor.shape, data: tensor.dataSync() }));
  socket.send(pack({ type: "SendPayload", payload: pack(payload), round }));
};`;

const web = (task) => `<script src="${origin}/dashboard/vendor/tf.min.js"></script>
<script type="module">
  import { Participant } from "${origin}/dashboard/participant.js";

  const model = await tf.loadLayersModel("${origin}/tasks/${task.id}/model.json?format=tfjs");
  const adopt = (weights) => model.setWeights(weights.map(({ shape, data }) => tf.tensor(data, shape)));

  const participant = new Participant("${task.id}", { server: "${origin}" });
  const { weights } = await participant.join();
  if (weights) adopt(weights);
  for (let rounds = 0; rounds < 10; rounds++) {
    await participant.enough();
    await train(model); // yours: model.compile(…) once, and model.fit(…) on your own data
    const mine = model.getWeights().map((tensor) => ({ shape: tensor.shape, data: tensor.dataSync() }));
    adopt((await participant.contribute(mine)).weights);
  }
  participant.leave();
</script>`;

/** Tabs, one a language, each with a button that copies. Arrow keys move between tabs. */
export function recipes(task) {
  const peers = task.trainingInformation.scheme === "decentralized";
  const kinds = [
    ["Python", (peers ? pythonPeer : python)(task)],
    ["Shell", shell(task)],
    ["Web", web(task)],
    ["Node", node(task)],
  ];
  const tabs = kinds.map(([name], index) =>
    h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `recipe-${name}`, "aria-selected": index === 0, tabindex: index ? -1 : 0, onclick: () => choose(index) }, name),
  );
  const panels = kinds.map(([name, text], index) =>
    h("div", { role: "tabpanel", id: `recipe-${name}`, "aria-labelledby": `tab-${name}`, hidden: index !== 0 }, copyable(text, name)),
  );
  function choose(chosen) {
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.tabIndex = index === chosen ? 0 : -1;
      panels[index].hidden = index !== chosen;
    });
    tabs[chosen].focus();
  }
  tabs.forEach((tab) => tab.setAttribute("aria-selected", String(tab === tabs[0])));
  const move = { ArrowRight: 1, ArrowLeft: -1 };
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": "Ways to take part", onkeydown: (event) => {
    if (!(event.key in move)) return;
    event.preventDefault();
    choose((tabs.indexOf(document.activeElement) + move[event.key] + tabs.length) % tabs.length);
  } }, tabs);
  const aside = peers ? h("p", { class: "quiet small" }, "Python and the shell join as peers. The web and Node examples join the task's federated session; DISCO's own clients are peers too.") : null;
  return [list, ...panels, aside].filter(Boolean);
}

function copyable(text, name) {
  const said = h("span", { class: "visually-hidden", role: "status" });
  const button = h("button", { type: "button", "aria-label": `Copy the ${name} example`, onclick: async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    said.textContent = `The ${name} example is on the clipboard`;
    setTimeout(() => (button.textContent = "Copy"), 1500);
  } }, "Copy");
  return h("div", { class: "copy" }, h("pre", { tabindex: "0", "aria-label": `${name} example` }, h("code", {}, text)), button, said);
}
