// Writes golden_v3v4/*.json: every message of the v3 and v4 wire between clients and the server, as
// @msgpack/msgpack puts it. The tests read the files and need no Node; run this again with `node make_golden.js`.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { encode, ExtensionCodec } = require("@msgpack/msgpack");

const FLOAT32_ARRAY = 0x17;
const codec = new ExtensionCodec();
codec.register({
  type: FLOAT32_ARRAY,
  encode: (value) =>
    value instanceof Float32Array ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null,
  decode: (bytes) => new Float32Array(bytes.slice().buffer),
});

const TENSORS = [
  { shape: [2, 3], data: [1, -2.5, 0.10000000149011612, 300, 0, -0.000030517578125] },
  { shape: [], data: [7] },
  { shape: [0, 4], data: [] },
];
// Sent from within larger messages, so the tensors' bytes lie at any alignment.
const WEIGHTS = encode(
  TENSORS.map(({ shape, data }) => ({ shape, data: Float32Array.from(data) })),
  { extensionCodec: codec },
);

const SENDER = "2f0c4b1e-7a53-4c8e-9f6d-0a1b2c3d4e5f";
const OTHER = "b7d1e6a2-90f3-4f6b-8c1d-5e4f3a2b1c0d";
const THIRD = "00000000-0000-4000-8000-000000000000";
const SIGNAL = { type: "offer", sdp: "v=0\r\no=- 41662 2 IN IP4 127.0.0.1\r\ns=-\r\na=max-message-size:262144\r\n" };
const CANDIDATE = {
  type: "candidate",
  candidate: { candidate: "candidate:1 1 udp 2122 127.0.0.1 9 typ host", sdpMLineIndex: 0, sdpMid: "0" },
};

const CODES = {
  ClientConnected: 0,
  NewDecentralizedNodeInfo: 1,
  JoinRound: 2,
  PeerIsReady: 3,
  PeersForRound: 4,
  SignalForPeer: 5,
  NewFederatedNodeInfo: 7,
  WaitingForMoreParticipants: 8,
  EnoughParticipants: 9,
  SendPayload: 10,
  ReceiveServerPayload: 11,
};

// [scheme, direction, type, fields, suffix]
const UP = "client->server";
const DOWN = "server->client";
const FED = "federated";
const DEC = "decentralized";
const both = (count) => [
  [FED, UP, "ClientConnected", {}],
  [FED, UP, "SendPayload", { payload: WEIGHTS, round: 3 }],
  [FED, DOWN, "ReceiveServerPayload", { payload: WEIGHTS, round: 4, nbOfParticipants: 2 }],
  [FED, DOWN, "WaitingForMoreParticipants", count],
  [FED, DOWN, "EnoughParticipants", count],
  [DEC, UP, "ClientConnected", {}],
  [DEC, UP, "JoinRound", {}],
  [DEC, UP, "PeerIsReady", {}],
  [DEC, UP, "SignalForPeer", { peer: OTHER, signal: SIGNAL }],
  [DEC, UP, "SignalForPeer", { peer: OTHER, signal: CANDIDATE }, "candidate"],
  [DEC, DOWN, "SignalForPeer", { peer: SENDER, signal: SIGNAL }],
  [DEC, DOWN, "PeersForRound", { peers: [OTHER, THIRD], aggregationRound: 300 }],
  [DEC, DOWN, "WaitingForMoreParticipants", count],
  [DEC, DOWN, "EnoughParticipants", count],
];
const welcome = (payload, round) => ({
  id: SENDER,
  waitForMoreParticipants: true,
  payload,
  round,
  nbOfParticipants: 1,
});
const MESSAGES = {
  v3: [
    ...both({}),
    [FED, DOWN, "NewFederatedNodeInfo", welcome(WEIGHTS, 0)],
    [DEC, DOWN, "NewDecentralizedNodeInfo", { id: SENDER, waitForMoreParticipants: false }],
  ],
  v4: [
    ...both({ nbOfParticipants: 2 }),
    [FED, DOWN, "NewFederatedNodeInfo", welcome(undefined, 0), "round0"],
    [FED, DOWN, "NewFederatedNodeInfo", welcome(WEIGHTS, 70000), "later"],
    [FED, DOWN, "ParticipantsUpdate", { nbOfParticipants: 200 }],
    [FED, DOWN, "CrashClient", { reason: "this task is over" }],
    [
      DEC,
      DOWN,
      "NewDecentralizedNodeInfo",
      { id: SENDER, waitForMoreParticipants: false, nbOfParticipants: 4, joinedMidTraining: true },
    ],
    [DEC, DOWN, "ParticipantsUpdate", { nbOfParticipants: 200 }],
    [DEC, UP, "ConnectionsReady", {}],
    [DEC, DOWN, "StartWeightSharing", {}],
    [DEC, DOWN, "RetryPeerConnections", {}],
    [DEC, DOWN, "ConnectionFail", {}],
    [DEC, UP, "ModelSyncRequest", {}],
    [DEC, DOWN, "ModelProviderInfo", { providerNode: OTHER }],
    [DEC, DOWN, "ProvideModelToPeer", { newNode: THIRD }],
    // What only Python participants say.
    [FED, UP, "ClientConnected", { extensions: ["verdicts"], participant: OTHER }, "python"],
    [
      FED,
      UP,
      "SendPayload",
      { payload: WEIGHTS, round: 3, key: "a-key", samples: 120.5, metrics: { loss: 0.25 } },
      "python",
    ],
    [
      FED,
      DOWN,
      "ContributionVerdict",
      { round: 3, outcome: "discarded", reason: "round 3 is over", key: "a-key" },
      "python",
    ],
    // `undefined` arrives as nil.
    [
      FED,
      UP,
      "SendPayload",
      { payload: WEIGHTS, round: 3, key: undefined, samples: undefined, metrics: undefined },
      "undefined",
    ],
  ],
};

const readable = (value) =>
  value === WEIGHTS ? { $weights: TENSORS } : value === undefined ? null : value;

const folder = path.join(__dirname, "golden_v3v4");
fs.rmSync(folder, { recursive: true, force: true });
fs.mkdirSync(folder);
for (const [dialect, messages] of Object.entries(MESSAGES)) {
  for (const [scheme, direction, name, fields, suffix] of messages) {
    const type = dialect === "v3" ? CODES[name] : name;
    const side = direction === UP ? "up" : "down";
    const file = [dialect, scheme.slice(0, 3), side, name, suffix].filter(Boolean).join("_");
    const golden = {
      name: file,
      dialect,
      scheme,
      direction,
      type_name: name,
      hex: Buffer.from(encode({ type, ...fields }, { extensionCodec: codec })).toString("hex"),
      decoded: Object.fromEntries(Object.entries({ type, ...fields }).map(([key, value]) => [key, readable(value)])),
    };
    fs.writeFileSync(path.join(folder, `${file}.json`), `${JSON.stringify(golden, null, 1)}\n`);
  }
}
