// What the v3 and v4 clients of discojs read and write, as strict as they are: whatever would be an uncaught
// exception in them is one here.
import { decode, encode, ExtensionCodec } from "@msgpack/msgpack";

const FLOAT32_ARRAY = 0x17;
const RAW_BYTES = 0x1a;

const codec = new ExtensionCodec();
codec.register({
  type: FLOAT32_ARRAY,
  encode: (value) =>
    value instanceof Float32Array ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null,
  // A copy, as the bytes lie at any alignment.
  decode: (bytes) => new Float32Array(bytes.slice().buffer),
});
codec.register({
  type: RAW_BYTES,
  encode: (value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : null),
  decode: (bytes) => bytes.slice().buffer,
});

/** The types of v3, whose codes are their places here. */
const V3_TYPES = [
  "ClientConnected", "NewDecentralizedNodeInfo", "JoinRound", "PeerIsReady", "PeersForRound", "SignalForPeer",
  "Payload", "NewFederatedNodeInfo", "WaitingForMoreParticipants", "EnoughParticipants", "SendPayload",
  "ReceiveServerPayload",
]; // prettier-ignore

const is = {
  id: (value) => typeof value === "string" && value.length > 0,
  flag: (value) => typeof value === "boolean",
  count: (value) => Number.isSafeInteger(value) && value >= 0,
  bytes: (value) => value instanceof Uint8Array,
  ids: (value) => Array.isArray(value) && value.every(is.id),
  text: (value) => typeof value === "string",
  something: (value) => value !== undefined,
};
const bytesOrNil = (value) => value === null || is.bytes(value);

/** What a server may say on a socket of each dialect and scheme, with the fields that must be there. */
const FROM_SERVER = {
  v3: {
    federated: {
      NewFederatedNodeInfo: {
        id: is.id, waitForMoreParticipants: is.flag, payload: is.bytes, round: is.count, nbOfParticipants: is.count,
      },
      ReceiveServerPayload: { payload: is.bytes, round: is.count, nbOfParticipants: is.count },
      WaitingForMoreParticipants: {},
      EnoughParticipants: {},
    },
    decentralized: {
      NewDecentralizedNodeInfo: { id: is.id, waitForMoreParticipants: is.flag },
      PeersForRound: { peers: is.ids, aggregationRound: is.count },
      SignalForPeer: { peer: is.id, signal: is.something },
      WaitingForMoreParticipants: {},
      EnoughParticipants: {},
    },
  },
  v4: {
    federated: {
      NewFederatedNodeInfo: {
        id: is.id, waitForMoreParticipants: is.flag, payload: bytesOrNil, round: is.count, nbOfParticipants: is.count,
      },
      ReceiveServerPayload: { payload: is.bytes, round: is.count, nbOfParticipants: is.count },
      WaitingForMoreParticipants: { nbOfParticipants: is.count },
      EnoughParticipants: { nbOfParticipants: is.count },
      ParticipantsUpdate: { nbOfParticipants: is.count },
      CrashClient: { reason: is.text },
    },
    decentralized: {
      NewDecentralizedNodeInfo: {
        id: is.id, waitForMoreParticipants: is.flag, nbOfParticipants: is.count, joinedMidTraining: is.flag,
      },
      PeersForRound: { peers: is.ids, aggregationRound: is.count, nbOfParticipants: is.count },
      SignalForPeer: { peer: is.id, signal: is.something },
      StartWeightSharing: {},
      RetryPeerConnections: {},
      ConnectionFail: {},
      ModelProviderInfo: { providerNode: is.id },
      ProvideModelToPeer: { newNode: is.id },
      WaitingForMoreParticipants: { nbOfParticipants: is.count },
      EnoughParticipants: { nbOfParticipants: is.count },
      ParticipantsUpdate: { nbOfParticipants: is.count },
    },
  },
}; // prettier-ignore

/** Reads one message of the server; its type comes back as a name. Throws where the real clients do. */
export function read(data, isBinary, dialect, scheme) {
  if (!isBinary) throw new Error("server did not send an ArrayBuffer: a text frame");
  let message;
  try {
    message = decode(new Uint8Array(data));
  } catch (error) {
    throw new Error(`the message cannot be decoded: ${error.message}`);
  }
  if (typeof message !== "object" || message === null || !("type" in message)) {
    throw new Error(`invalid message received: ${JSON.stringify(message)}`);
  }
  const expected = dialect === "v3" ? "number" : "string";
  const name = dialect === "v3" ? V3_TYPES[message.type] : message.type;
  const fields = typeof message.type === expected ? FROM_SERVER[dialect][scheme][name] : undefined;
  if (fields === undefined) {
    throw new Error(`invalid message received: type ${JSON.stringify(message.type)} on a ${dialect} ${scheme} socket`);
  }
  for (const [field, holds] of Object.entries(fields)) {
    if (!holds(message[field])) {
      throw new Error(`invalid message received: ${name}.${field} is ${JSON.stringify(message[field])}`);
    }
  }
  return { ...message, type: name };
}

/** Writes one message of the client. */
export function write(type, fields, dialect) {
  return encode({ type: dialect === "v3" ? V3_TYPES.indexOf(type) : type, ...fields });
}

export function readWeights(bytes) {
  return decode(bytes, { extensionCodec: codec }).map(({ shape, data }) => {
    if (!(data instanceof Float32Array)) throw new Error("a tensor's data is no Float32Array");
    if (data.length !== shape.reduce((product, size) => product * size, 1)) throw new Error("a tensor lacks values");
    return { shape, data };
  });
}

export function writeWeights(tensors) {
  return encode(tensors, { extensionCodec: codec });
}

/** Reads a model as fetch() gets it: `[0, artifacts]` of TF.js, or `[1, weights, config]` of a GPT. */
export function readModel(bytes) {
  const model = decode(bytes, { extensionCodec: codec });
  if (!Array.isArray(model)) throw new Error("invalid encoding, not an array");
  const [kind, content, config] = model;
  if (kind === 1) {
    if (!is.bytes(content)) throw new Error("the weights of a GPT model are no bytes");
    return { kind, weights: readWeights(content), config };
  }
  if (kind !== 0 || model.length !== 2) throw new Error(`invalid encoding, model kind ${kind}`);
  const { modelTopology, weightSpecs, weightData } = content;
  if (!(weightData instanceof ArrayBuffer)) throw new Error("weightData is no ArrayBuffer");
  if (modelTopology === undefined) throw new Error("modelTopology is missing");
  let place = 0;
  const weights = [];
  for (const { shape, group } of weightSpecs) {
    const length = shape.reduce((product, size) => product * size, 1);
    const data = new Float32Array(weightData.slice(place, place + 4 * length));
    place += 4 * length;
    if (group !== "optimizer") weights.push({ shape, data });
  }
  return { kind, weights, artifacts: content };
}

/** Writes a model for `POST /tasks`. */
export function writeModel(...parts) {
  return encode(parts, { extensionCodec: codec });
}
