/**
 * What the thread runs. It reads how often the main thread has beaten, from shared memory. When that does not change for `stallMs` it stops the
 * main thread for a moment, by the inspector, to see where it is. It answers liveness by itself, because the main thread cannot then.
 *
 * A string, because a file of its own would have to be found again in whatever the user bundles.
 */
export const program = `
const { createServer } = require('node:http')
const { Session } = require('node:inspector')
const { writeSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const { shared, tickMs, stallMs, failAfterMs, port, host, service } = workerData
const beats = new Int32Array(shared)
const now = () => performance.now()
let seen = 0
let seenAt = now()
let lastTick = now()
let stall
// A busy machine takes its time, and code of the runtime itself is no place to stop at.
const sampleWithinMs = 5000

function sample(found) {
  let session
  try {
    session = new Session()
    session.connectToMainThread()
    const urls = new Map()
    session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url))
    session.on('Debugger.paused', ({ params }) => {
      const stack = params.callFrames.map(({ functionName, location }) =>
        (functionName || '(anonymous)') + ' (' + urls.get(location.scriptId) + ':' + (location.lineNumber + 1) + ':' + (location.columnNumber + 1) + ')')
      session.post('Debugger.resume')
      session.post('Debugger.disable', () => session.disconnect())
      found(stack)
    })
    session.post('Debugger.enable')
    session.post('Debugger.pause')
  } catch {
    // Somebody else debugs it: the stall is told without its place.
  }
}

const stalledMs = () => (stall === undefined ? 0 : Math.round(now() - seenAt))

setInterval(() => {
  const at = now()
  // This thread stood still as well: the whole process did.
  if (at - lastTick > tickMs * 4) seenAt += at - lastTick
  lastTick = at
  const beat = Atomics.load(beats, 0)
  if (beat !== seen) {
    if (stall !== undefined) parentPort.postMessage({ stalledMs: stalledMs(), stack: stall.stack })
    stall = undefined
    seen = beat
    seenAt = at
    return
  }
  if (at - seenAt < stallMs) return
  if (stall === undefined) {
    const own = (stall = { stack: [], isTold: false })
    sample((stack) => (own.stack = stack.slice(0, 30)))
  } else if (!stall.isTold && at - seenAt > failAfterMs + (stall.stack.length > 0 ? 0 : sampleWithinMs)) {
    // It may never come back to tell it itself.
    stall.isTold = true
    const line = { level: 'error', service, stalledMs: stalledMs(), stack: stall.stack, msg: 'the event loop is blocked; liveness fails' }
    try { writeSync(2, JSON.stringify(line) + '\\n') } catch {}
  }
}, tickMs)

if (port !== undefined) {
  const server = createServer((request, response) => {
    const isDead = stalledMs() > failAfterMs || Atomics.load(beats, 1) === 1
    const status = request.url.split('?', 1)[0] !== '/live' ? 404 : isDead ? 503 : 200
    const body = status === 404 ? { status: 'fail', output: 'the path is /live' } : { status: isDead ? 'fail' : 'pass', stalledMs: stalledMs() }
    response.writeHead(status, { 'content-type': 'application/health+json', 'cache-control': 'no-store' }).end(JSON.stringify(body))
  })
  server.on('error', ({ code }) => parentPort.postMessage({ listening: false, code }))
  server.listen({ port, host }, () => parentPort.postMessage({ listening: true, port: server.address().port }))
} else parentPort.postMessage({ listening: true })
`
