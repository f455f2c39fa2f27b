// Elements from data. Text goes in as text: strings that strangers wrote can never become markup here.

const SVG = "http://www.w3.org/2000/svg";

/** Make an HTML element. Children are elements or strings; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function s(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what an element holds, unless it shows the same already: screen readers and selections keep their place. */
export function show(element, ...children) {
  const draft = element.cloneNode(false);
  draft.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  if (draft.isEqualNode(element)) return;
  element.replaceChildren(...draft.childNodes);
}

/** A figure with its name, for a <dl class="figures">. */
export function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, String(value)));
}

/** What a task is called, whichever generation wrote it. */
export function titleOf(task) {
  return task.displayInformation?.title ?? task.displayInformation?.taskTitle ?? task.id;
}

/** What a task is about, in a sentence; empty if it does not say. */
export function previewOf(task) {
  const summary = task.displayInformation?.summary;
  return typeof summary === "string" ? summary : (summary?.preview ?? "");
}

const COUNT = new Intl.NumberFormat("en");
export const count = (number, one, many = `${one}s`) => `${COUNT.format(number)} ${number === 1 ? one : many}`;
export const grouped = (number) => COUNT.format(number);

/** Bytes as people read them. */
export function bytes(number) {
  if (number < 1000) return `${number} B`;
  const unit = number < 1e6 ? "kB" : "MB";
  return `${(number / (number < 1e6 ? 1e3 : 1e6)).toFixed(1)} ${unit}`;
}

export const seconds = (number) =>
  number < 1 ? `${Math.round(number * 1000)} ms` : number < 120 ? `${number.toFixed(1)} s` : `${(number / 60).toFixed(1)} min`;

/** The pill that says whether a task trains. */
export function standing(state) {
  if (state.state === "ended") return h("span", { class: "pill accent" }, "ended");
  if (state.paused || state.state === "paused") return h("span", { class: "pill warn" }, "paused");
  if (!state.running) return h("span", { class: "pill bad" }, "restarting");
  if (state.contributions || state.readyPeers) return h("span", { class: "pill good" }, "training");
  const present = state.participants + state.peers;
  return h("span", { class: present ? "pill good" : "pill" }, present ? "participants here" : "waiting for participants");
}

/** The figures of whoever takes part: of the task's own scheme, and of the other one while somebody uses it. */
export function company(state, scheme) {
  const peers = [
    figure("Peers", grouped(state.peers)),
    figure("Ready", `${state.readyPeers} of ${Math.max(state.peers, state.peerMinimum)}`),
  ];
  const participants = [
    figure("Participants", grouped(state.participants)),
    figure("Contributed", `${state.contributions} of ${Math.max(state.participants, state.minimum)}`),
  ];
  if (scheme === "decentralized")
    return [figure("Round", grouped(state.peerRound)), ...peers, ...(state.participants ? participants : [])];
  return [figure("Round", grouped(state.round)), ...participants, ...(state.peers ? peers : [])];
}
