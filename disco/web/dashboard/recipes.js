// How to join a task from the web, Node and Python, ready to copy.

import { h } from "./dom.js";

const origin = location.origin;

function python(task) {
  return `# pip install disco-server
from disco.participant import BlockingParticipant

with BlockingParticipant("${origin}", "${task.id}") as participant:
    for _ in range(10):                        # rounds
        weights = participant.weights          # numpy float32 arrays
        weights = train(weights)               # on your own data
        participant.exchange(weights)          # the next global model`;
}

function shell(task) {
  const data = task.dataType === "image" ? "images/  # a folder for each label" : "data.csv";
  return `disco join ${task.id} --server ${origin} --data ${data}`;
}

function node(task) {
  return `// npm install ws @msgpack/msgpack @tensorflow/tfjs
import { decode, encode } from "@msgpack/msgpack";
import * as tf from "@tensorflow/tfjs";
import WebSocket from "ws";

const model = await tf.loadLayersModel("${origin}/tasks/${task.id}/model.json?format=tfjs");
const socket = new WebSocket("${origin.replace(/^http/, "ws")}/federated/${task.id}");
socket.on("open", () => socket.send(encode({ type: "ClientConnected" })));
socket.on("message", (data) => {
  const message = decode(data); // NewFederatedNodeInfo, EnoughParticipants, ReceiveServerPayload, …
});`;
}

function web(task) {
  return `<script src="${origin}/dashboard/vendor/tf.min.js"></script>
<script type="module">
  const model = await tf.loadLayersModel("${origin}/tasks/${task.id}/model.json?format=tfjs");
  const socket = new WebSocket("${origin.replace(/^http/, "ws")}/federated/${task.id}");
  socket.binaryType = "arraybuffer"; // every message is a msgpack map
</script>`;
}

/** Tabs, one a language, each with a button that copies. Arrow keys move between tabs. */
export function recipes(task) {
  const kinds = [
    ["Python", python(task)],
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
  return [list, ...panels];
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
