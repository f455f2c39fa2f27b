// The v3 and v4 clients of discojs as far as a server can tell: their order of doing things, and their intolerance.
// Training is a deterministic change of the weights, and a data channel between peers is one signal each way.
import WebSocket from "ws";
import { read, readModel, readWeights, write, writeWeights } from "./wire.mjs";

/** Milliseconds after which the real clients give up. */
const PATIENCE = 15_000;

/** Anything that would be an uncaught exception in a client ends this process, and says why. */
function die(client, error) {
  process.stderr.write(`${client}: ${error.message}\n`);
  process.exit(1);
}

class Client {
  constructor(name, base, task, dialect, scheme) {
    Object.assign(this, { name, base, task, dialect, scheme });
    /** Every message so far: `[type, fields]`. */
    this.heard = [];
    /** Resolves when the server says that there are enough participants; cleared only by `waitIfNeeded`. */
    this.enough = undefined;
    this.listeners = new Set();
    this.leaving = false;
  }

  // ── Listening ──────────────────────────────────────────────────────────────────────────────────────────

  async open() {
    this.socket = new WebSocket(`ws${this.base.slice(4)}/${this.scheme}/${this.task}`);
    await new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", (error) => reject(new Error(`Server unreachable: ${error.message}`)));
    });
    this.socket.on("message", (data, isBinary) => this.receive(data, isBinary));
    this.socket.on("close", (code, reason) => {
      if (!this.leaving) die(this.name, new Error(`the server closed with ${code}: ${reason}`));
    });
  }

  receive(data, isBinary) {
    try {
      this.take(read(data, isBinary, this.dialect, this.scheme));
    } catch (error) {
      die(this.name, error);
    }
  }

  take(message) {
    const { type, ...fields } = message;
    const info = type.endsWith("NodeInfo");
    if (this.id === undefined && !info) throw new Error(`${type} came before the answer to ClientConnected`);
    this.heard.push([type, fields]);
    if (type === "WaitingForMoreParticipants") {
      if (this.enough !== undefined) throw new Error("Server sent multiple WaitingForMoreParticipants messages");
      this.enough = this.hear("EnoughParticipants");
    }
    if (type === "CrashClient") throw new Error(`The server stopped your training: ${message.reason}`);
    if ("nbOfParticipants" in message) this.participants = message.nbOfParticipants;
    if (info) this.begin(message);
    for (const listener of [...this.listeners]) listener(message);
  }

  /** The next message of one of these types. One that comes while nobody listens is lost, as with the real clients. */
  hear(...types) {
    return new Promise((resolve) => {
      const listener = (message) => {
        if (!types.includes(message.type)) return;
        this.listeners.delete(listener);
        resolve(message);
      };
      this.listeners.add(listener);
    });
  }

  async hearSoon(...types) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`timeout: no ${types} within ${PATIENCE / 1000} s`)), PATIENCE);
    });
    try {
      return await Promise.race([this.hear(...types), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Resolves once this many messages of a type have come since the connection was opened. */
  async until(type, count = 1) {
    while (this.heard.filter(([kind]) => kind === type).length < count) await this.hear(type);
  }

  async waitIfNeeded() {
    if (this.enough === undefined) return;
    await this.enough;
    this.enough = undefined;
  }

  say(type, fields = {}) {
    this.socket.send(write(type, fields, this.dialect));
  }

  // ── What every client does ─────────────────────────────────────────────────────────────────────────────

  async connect() {
    await this.load();
    await this.open();
    return await this.hello();
  }

  /** Gets the task's model with fetch(). */
  async load() {
    const response = await fetch(`${this.base}/tasks/${this.task}/model.json`);
    if (response.headers.get("content-type") !== "application/octet-stream") {
      throw new Error(`model.json came as ${response.headers.get("content-type")}`);
    }
    this.model = readModel(new Uint8Array(await response.arrayBuffer()));
    this.weights = this.model.weights;
  }

  begin({ id, waitForMoreParticipants }) {
    if (this.id === undefined && waitForMoreParticipants) this.enough = this.hear("EnoughParticipants");
    this.id = id;
  }

  async leave() {
    this.leaving = true;
    await new Promise((resolve) => {
      this.socket.once("close", resolve);
      this.socket.close();
    });
  }

  train(seed) {
    let place = 0;
    this.weights = this.weights.map(({ shape, data }) => ({
      shape,
      data: data.map((value) => value + Math.sin(1000 * seed + place++)),
    }));
  }
}

export class FederatedClient extends Client {
  async hello() {
    const answer = this.hearSoon("NewFederatedNodeInfo");
    this.say("ClientConnected");
    const { id, round, payload, waitForMoreParticipants, nbOfParticipants } = await answer;
    this.round = round;
    if (payload !== null) this.weights = readWeights(payload);
    return { id, round, nil: payload === null, waiting: waitForMoreParticipants, participants: nbOfParticipants };
  }

  /** One round: train, wait if there are too few, contribute, adopt the result. */
  async exchange({ seed, round = this.round }) {
    this.train(seed);
    const sent = this.weights;
    await this.waitIfNeeded();
    this.say("SendPayload", { payload: writeWeights(sent), round });
    const answer = await this.hear("ReceiveServerPayload");
    const adopted = answer.round > this.round;
    if (adopted) {
      this.weights = readWeights(answer.payload);
      this.round = answer.round;
    }
    return { sent, adopted, round: answer.round, weights: this.weights, participants: answer.nbOfParticipants };
  }

  /** Contributes and hears nothing of it. */
  contribute({ seed, round }) {
    this.train(seed);
    this.say("SendPayload", { payload: writeWeights(this.weights), round: round ?? this.round });
    return { sent: this.weights };
  }
}

export class DecentralizedClient extends Client {
  async hello() {
    const answer = this.hearSoon("NewDecentralizedNodeInfo");
    this.say("ClientConnected");
    const { id, waitForMoreParticipants, nbOfParticipants, joinedMidTraining } = await answer;
    return { id, waiting: waitForMoreParticipants, participants: nbOfParticipants, midTraining: joinedMidTraining };
  }

  /** Says that it trains for the next round. Today's clients do not begin before there are enough. */
  async join() {
    this.say("JoinRound");
    if (this.dialect === "v4") await this.waitIfNeeded();
  }

  /** Asks for the model; resolves with who is to give it. */
  async sync() {
    const answer = this.hearSoon("ModelProviderInfo");
    this.say("ModelSyncRequest");
    return { provider: (await answer).providerNode };
  }

  /**
   * One round after training: be ready, get the list, connect, and in v4 wait for the sign to share.
   *
   * `failures` is how many attempts end without all of its connections. `hold` stops before it says that it has them.
   */
  async meet({ failures = 0, hold = false } = {}) {
    const lists = [];
    for (;;) {
      await this.waitIfNeeded();
      const answer = this.hear("PeersForRound");
      this.say("PeerIsReady");
      const { peers, aggregationRound } = await answer;
      if (peers.includes(this.id)) throw new Error("received peer list contains our own id");
      lists.push({ peers, round: aggregationRound });
      if (this.dialect === "v3") return { lists, verdict: "share" };
      const verdict = this.hear("StartWeightSharing", "RetryPeerConnections", "ConnectionFail");
      await this.connectTo(peers);
      if (lists.length > failures) {
        if (hold) return { lists, verdict: "held" };
        this.say("ConnectionsReady");
      }
      switch ((await verdict).type) {
        case "StartWeightSharing":
          return { lists, verdict: "share" };
        case "ConnectionFail":
          await this.leave();
          return { lists, verdict: "fail" };
      }
    }
  }

  /** Signals to every peer of the round, and resolves when each has signalled to us since we got the list. */
  async connectTo(peers) {
    for (const peer of peers) this.say("SignalForPeer", { peer, signal: { type: "offer", sdp: `from ${this.id}` } });
    const list = this.heard.findLastIndex(([type]) => type === "PeersForRound");
    const heard = (peer) =>
      this.heard.slice(list).some(([type, fields]) => type === "SignalForPeer" && fields.peer === peer);
    while (!peers.every(heard)) await this.hear("SignalForPeer");
  }

  ready() {
    this.say("ConnectionsReady");
  }

  signal({ peer, signal }) {
    this.say("SignalForPeer", { peer, signal });
  }
}
