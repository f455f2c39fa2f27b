// A minimal Node server on `ws` and `@msgpack/msgpack`: what a plain implementation in Node's own strongest library reaches.
//
//   node node_server.mjs [participants]
//
// /sink, /source and /echo are told in benchmarks/load/__main__.py. Any other path is a task's federated session in DISCO's
// v4 messages: participants join, send their weights, and get the mean once enough have sent theirs. How many that is says
// the query string (?participants=8), or else the command line. A path with a client ID, /federated/:task/:uuid, is the
// same in v2's messages, whose weights are arrays of integers. GET answers any path with a task's description.

import { createServer } from 'node:http'

import { decode, encode, ExtensionCodec } from '@msgpack/msgpack'
import { WebSocketServer } from 'ws'

const usual = Number(process.argv[2] ?? 2)

// A tensor's data travels as ext 0x17: little-endian float32.
const extensions = new ExtensionCodec()
extensions.register({
  type: 0x17,
  encode: (value) =>
    value instanceof Float32Array ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null,
  decode: (bytes) => {
    const copy = Uint8Array.prototype.slice.call(bytes) // Buffer's own slice would share its alignment
    return new Float32Array(copy.buffer, copy.byteOffset, copy.byteLength / 4)
  },
})

const sessions = new Map()

function sessionOf(path, participants) {
  if (!sessions.has(path)) {
    const empty = { round: 0, total: null, contributed: new Set(), joined: new Set(), payload: null, weights: null }
    sessions.set(path, { participants, ...empty })
  }
  return sessions.get(path)
}

function mean(total, count) {
  return total.map(({ shape, data }) => {
    const result = new Float32Array(data.length)
    for (let i = 0; i < data.length; i++) result[i] = data[i] / count
    return { shape, data: result }
  })
}

function add(total, tensors) {
  if (total === null) return tensors
  tensors.forEach(({ data }, tensor) => {
    const sum = total[tensor].data
    for (let i = 0; i < data.length; i++) sum[i] += data[i]
  })
  return total
}

function closeRound(session, encoded) {
  session.payload = encoded(mean(session.total, session.contributed.size))
  session.round += 1
  session.total = null
}

function v4(socket, session) {
  let verdicts = false
  const model = (type) => ({
    type,
    payload: session.payload,
    round: session.round,
    nbOfParticipants: session.joined.size,
  })
  socket.on('close', () => session.joined.delete(socket))
  socket.on('message', (bytes) => {
    const message = decode(bytes)
    if (message.type === 'ClientConnected') {
      session.joined.add(socket)
      verdicts = message.extensions?.includes('verdicts') ?? false
      const welcome = { id: crypto.randomUUID(), waitForMoreParticipants: false, ...model('NewFederatedNodeInfo') }
      socket.send(encode(welcome))
    } else if (message.type === 'SendPayload' && message.round === session.round) {
      session.total = add(session.total, decode(message.payload, { extensionCodec: extensions }))
      session.contributed.add(socket)
      const verdict = { type: 'ContributionVerdict', round: session.round, outcome: 'accepted', reason: '' }
      if (verdicts) socket.send(encode(verdict))
      if (session.contributed.size < session.participants) return
      closeRound(session, (weights) => encode(weights, { extensionCodec: extensions }))
      const answer = encode(model('ReceiveServerPayload'))
      for (const each of session.contributed) each.send(answer)
      session.contributed.clear()
    } else if (message.type === 'SendPayload') {
      socket.send(encode(model('ReceiveServerPayload')))
    }
  })
}

// v2: 0 clientConnected, 8 postWeightsToServer, 11 latestServerRound, 13 pullServerStatistics
function v2(socket, session) {
  socket.on('message', (bytes) => {
    const message = decode(bytes)
    if (message.type === 0) socket.send(encode({ type: 0 }))
    if (message.type === 13) socket.send(encode({ type: 13, statistics: { round: session.round } }))
    if (message.type === 11) socket.send(encode({ type: 11, round: session.round, weights: session.payload }))
    if (message.type !== 8 || message.round !== session.round) return
    const tensors = decode(Uint8Array.from(message.weights))
    session.total = add(session.total, tensors)
    session.contributed.add(socket)
    if (session.contributed.size < session.participants) return
    const numbers = (weights) => weights.map(({ shape, data }) => ({ shape, data: Array.from(data) }))
    closeRound(session, (weights) => Array.from(encode(numbers(weights))))
    session.contributed.clear()
  })
}

const routes = {
  '/sink': (socket) => socket.on('message', (data) => data.length === 1 && socket.send('!', { binary: true })),
  '/echo': (socket) => socket.on('message', (data) => socket.send(data, { binary: true })),
  '/source': (socket) =>
    socket.on('message', (data) => {
      const message = Buffer.alloc(data.readUInt32LE(0))
      let left = data.readUInt32LE(4)
      // One message at a time: sending all at once would only fill memory.
      const next = () => left-- > 0 && socket.send(message, { binary: true }, next)
      next()
    }),
}

const description = JSON.stringify({ id: 'task', displayInformation: {}, trainingInformation: {} })
const http = createServer((_, response) => {
  response.setHeader('Content-Type', 'application/json')
  response.end(description)
})
const server = new WebSocketServer({ server: http, maxPayload: 2 ** 30, perMessageDeflate: false })
server.on('connection', (socket, request) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  if (pathname in routes) return routes[pathname](socket)
  const [, room, task, client] = pathname.split('/')
  const session = sessionOf(`${room}/${task}`, Number(searchParams.get('participants') ?? usual))
  return client === undefined ? v4(socket, session) : v2(socket, session)
})
http.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, () => console.log(http.address().port))
