// A federated participant on the v4 wire: hello, contributions, the global models that come back.

import { decode, encode, Extension } from "./msgpack.js";
import { subprotocols } from "./session.js";

/** msgpack extension of a tensor's float32 values, little-endian. Source: DISCO v3 and v4 wire, weights. */
const FLOAT32 = 0x17;

/** Pack tensors, each {shape, data: Float32Array}. */
export function packWeights(tensors) {
  return encode(
    tensors.map(({ shape, data }) => ({
      shape,
      data: new Extension(FLOAT32, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    })),
  );
}

/** Unpack tensors. */
export function unpackWeights(payload) {
  return decode(payload).map(({ shape, data }) => {
    if (!(data instanceof Extension) || data.type !== FLOAT32) throw new TypeError("the model has tensors of another kind");
    return { shape, data: new Float32Array(data.data.slice().buffer) };
  });
}

/**
 * One connection to a task's federated session, also from pages of other sites.
 *
 * `onnews` is told {kind, …}: verdict, sent, heard, closed. `server` is where the task is, if not where the page is from.
 */
export class Participant {
  constructor(task, { onnews = () => {}, server = location.origin } = {}) {
    this.onnews = onnews;
    this.round = 0;
    this.participants = 0;
    this.waiting = false;
    this.sent = { messages: 0, bytes: 0 };
    this.received = { messages: 0, bytes: 0 };
    this.wake = () => {};
    this.result = null;
    this.ended = null;
    this.socket = new WebSocket(`${server.replace(/^http/, "ws")}/federated/${task}`, subprotocols());
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", (event) => this.hear(new Uint8Array(event.data)));
    this.socket.addEventListener("close", (event) => {
      this.ended = event.reason || (event.code === 1000 ? "the connection was closed" : `the connection was lost (${event.code})`);
      this.wake();
      this.onnews({ kind: "closed", reason: this.ended });
    });
  }

  /** Say hello; returns the current global model, or null while that is the one that `model.json` serves. */
  async join() {
    await new Promise((resolve, reject) => {
      this.socket.addEventListener("open", resolve, { once: true });
      this.socket.addEventListener("close", () => reject(new Error(this.ended)), { once: true });
    });
    this.say({ type: "ClientConnected", extensions: ["verdicts"] });
    return this.until(() => this.joined && { weights: this.first });
  }

  /** Wait until there are enough participants to train. */
  enough() {
    return this.until(() => !this.waiting);
  }

  /** Contribute to the current round and wait for its result: {weights, round, participants}. */
  contribute(tensors, figures) {
    this.result = null;
    this.say({ type: "SendPayload", payload: packWeights(tensors), round: this.round, ...figures });
    return this.until(() => this.result);
  }

  leave() {
    this.socket.close(1000);
  }

  say(message) {
    const bytes = encode(message);
    this.socket.send(bytes);
    this.sent.messages += 1;
    this.sent.bytes += bytes.length;
    this.onnews({ kind: "sent", type: message.type, bytes: bytes.length });
  }

  hear(bytes) {
    const message = decode(bytes);
    this.received.messages += 1;
    this.received.bytes += bytes.length;
    if ("nbOfParticipants" in message) this.participants = message.nbOfParticipants;
    switch (message.type) {
      case "NewFederatedNodeInfo":
        this.round = message.round;
        this.waiting = message.waitForMoreParticipants;
        this.first = message.payload && unpackWeights(message.payload);
        this.joined = true;
        break;
      case "WaitingForMoreParticipants":
        this.waiting = true;
        break;
      case "EnoughParticipants":
        this.waiting = false;
        break;
      case "ReceiveServerPayload":
        this.round = message.round;
        this.result = { weights: unpackWeights(message.payload), round: message.round };
        break;
      case "ContributionVerdict":
        this.onnews({ kind: "verdict", outcome: message.outcome, reason: message.reason, round: message.round });
        break;
      case "CrashClient":
        this.ended = message.reason;
        this.socket.close(1000);
    }
    this.onnews({ kind: "heard", type: message.type, bytes: bytes.length });
    this.wake();
  }

  /** Wait until `ready` returns something; a closed connection ends every wait. */
  async until(ready) {
    for (;;) {
      if (this.ended !== null) throw new Error(this.ended);
      const found = ready();
      if (found) return found;
      await new Promise((resolve) => (this.wake = resolve));
    }
  }
}
