'use strict'
// usage: node mixed_peer.js BASE_URL TASK_ID WHO [ROUNDS=2] [--mode=clear|sec_agg] [--first=0] [--timeout=30000]
//   One npm client in a session with peers of any make: it contributes pattern(shapes, WHO, round) for
//   ROUNDS rounds, the first numbered --first, prints each result as a JSON line, and leaves.
const { disco, out, parseArgs, baseURL, sleep, withTimeout, toArrays, pattern } = require('./lib')
const { PeerPool } = require('@epfml/discojs-node/dist/core/client/decentralized/peer_pool')
const { ClearText, SecAgg } = disco.client.decentralized
const { DecentralizedInformant } = disco.informant

const SHAPES = [[2, 3], [3], []]

// The client waits for a message of every peer it ever met, in the round's group or not, and so hangs once one
// has left. Forgetting those outside the group changes no byte on the wire.
const { getPeers } = PeerPool.prototype
PeerPool.prototype.getPeers = function (group, ...rest) {
  for (const [id, connection] of this.peers) if (!group.has(id)) connection.disconnect()
  this.peers = this.peers.filter((_, id) => group.has(id))
  return getPeers.call(this, group, ...rest)
}

async function main () {
  const { pos, opt } = parseArgs(process.argv.slice(2))
  const url = baseURL(pos[0])
  const task = (await disco.fetchTasks(url)).get(pos[1])
  const who = Number(pos[2]); const rounds = Number(pos[3] ?? 2); const first = Number(opt.first ?? 0)
  const limit = Number(opt.timeout ?? 30000)

  const client = new (opt.mode === 'sec_agg' ? SecAgg : ClearText)(url, task)
  await withTimeout(client.connect(), 15000, 'connect')
  out({ joined: client.ID })
  const informant = new DecentralizedInformant(task, 0)
  for (let round = first; round < first + rounds; round++) {
    const own = pattern(SHAPES, who, round)
    // a failing round does not throw: the client hands back its own weights, so the reader must compare values
    const result = await withTimeout(client.onRoundEndCommunication(own, own, round, informant), limit, `round ${round}`)
    out({ round, id: client.ID, peers: [...(client.peers ?? [])], result: toArrays(result) })
  }
  await sleep(300) // what was sent may still be on its way
  await client.disconnect()
  process.stdout.write('', () => process.exit(0))
}
main().catch((e) => { out({ fatal: String(e.stack || e) }); process.exit(2) })
