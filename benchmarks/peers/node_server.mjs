// A minimal Node server on `ws` and `@msgpack/msgpack`: what a plain implementation in Node's own strongest library reaches.
//
//   node node_server.mjs [participants]
//
// /sink, /source and /echo are told in benchmarks/load/__main__.py. Any other path is a federated round of DISCO's v4
// messages: participants join, send their weights, and get the mean once `participants` have sent theirs.

import { decode, encode, ExtensionCodec } from '@msgpack/msgpack'
import { WebSocketServer } from 'ws'

const participants = Number(process.argv[2] ?? 2)

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

const session = { round: 0, total: null, contributed: new Set(), joined: new Set(), payload: null }

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

function federated(socket) {
  socket.on('close', () => session.joined.delete(socket))
  socket.on('message', (bytes) => {
    const message = decode(bytes)
    if (message.type === 'ClientConnected') {
      session.joined.add(socket)
      socket.send(
        encode({
          type: 'NewFederatedNodeInfo',
          id: crypto.randomUUID(),
          waitForMoreParticipants: false,
          payload: session.payload,
          round: session.round,
          nbOfParticipants: session.joined.size,
        }),
      )
    } else if (message.type === 'SendPayload' && message.round === session.round) {
      session.total = add(session.total, decode(message.payload, { extensionCodec: extensions }))
      session.contributed.add(socket)
      if (session.contributed.size < participants) return
      session.payload = encode(mean(session.total, participants), { extensionCodec: extensions })
      session.round += 1
      const answer = encode({
        type: 'ReceiveServerPayload',
        payload: session.payload,
        round: session.round,
        nbOfParticipants: session.joined.size,
      })
      for (const each of session.contributed) each.send(answer)
      session.contributed.clear()
      session.total = null
    }
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

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 2 ** 30, perMessageDeflate: false })
server.on('connection', (socket, request) => (routes[request.url] ?? federated)(socket))
server.on('listening', () => console.log(server.address().port))
