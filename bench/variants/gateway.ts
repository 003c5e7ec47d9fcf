/**
 * The control plane for `questions/gateway.ts`, everything on: log lines are written (to nowhere), limits are in Redis, traces begin; no audit, which
 * would be a second line. Over IPC it is told sets of instances (`{ say: ports }`) and to take the file again (`{ apply: true }`), and answers each.
 */
import { openSync } from 'node:fs'
import { createGateway } from '@platform/gateway'
import { createLogger } from '@platform/logger'
import { startTelemetry } from '@platform/telemetry'
import { Redis } from 'ioredis'

const [file = '', folder = '', nginx = '', redisUrl = '', ports = ''] = process.argv.slice(2)
type Watcher = (instances: readonly { id: string; service: string; address: string; port: number }[]) => void

startTelemetry({ service: 'gateway', sampling: { ratio: 0.1 } })
const logger = createLogger({ name: 'gateway', destination: openSync('/dev/null', 'w') })
const watchers = new Set<Watcher>()
let current = instances(ports.split(',').map(Number))

function instances(list: readonly number[]) {
  return list.map((port) => ({ id: `films-${port}`, service: 'films', address: '127.0.0.1', port }))
}

const discovery = {
  watch(_service: string, onChange: Watcher) {
    watchers.add(onChange)
    queueMicrotask(() => onChange(current))
    return () => watchers.delete(onChange)
  },
}
const redis = new Redis(redisUrl, { maxRetriesPerRequest: 1 })
const gateway = createGateway({ file, folder, nginx, workers: 1, discovery, redis, logger })

process.on('message', (message: { say?: readonly number[] }) => void obey(message))
async function obey({ say }: { say?: readonly number[] }): Promise<void> {
  if (say === undefined) await gateway.apply()
  else {
    current = instances(say)
    for (const each of watchers) each(current)
  }
  process.send!({ done: true })
}
process.on('disconnect', () => void gateway.close({ timeoutMs: 1_000 }).finally(() => process.exit()))
await gateway.ready()
process.send!({ ready: true })
