/** The film store from its sources, staying up: whatever saves a file of a service or a library, what uses it is started again. */
import { join } from 'node:path'
import { styleText } from 'node:util'
import { runCommand } from './command.ts'
import { sourcesOf } from './dev/dependents.ts'
import { clock, followLog } from './dev/follow-log.ts'
import { type DevOptions, readDevOptions, usage } from './dev/options.ts'
import { stablePorts } from './dev/ports.ts'
import { createRestarts } from './dev/restarts.ts'
import { watchSources } from './dev/watch-sources.ts'
import { called, type Launcher, packageFolder } from './services.ts'
import { openStore, type Store } from './store.ts'

/** Nest reads the types of constructor parameters at run time, which only a compiler writes down. */
const withDecorators = ['orders-api']

const fromSource: Launcher = (service, program) => {
  const compile = withDecorators.includes(service) ? ['--import', '@swc-node/register/esm-register'] : []
  return { args: ['--conditions=@platform/source', ...compile, join('src', `${program}.ts`)], cwd: packageFolder(service) }
}

const say = (line: string) => console.log(styleText('dim', `${'dev'.padEnd(20)}│ ${clock(Date.now())} ${line}`))

async function dev({ mode, accessLog }: DevOptions, signal: AbortSignal): Promise<void> {
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  await using store = await openStore({
    mode,
    launcher: fromSource,
    signal,
    accessLog,
    portOf: stablePorts(say),
    onProgress: say,
    onLog: followLog,
  })
  await using ends = new AsyncDisposableStack()
  const restarts = createRestarts(store, say)
  ends.defer(() => restarts.close())
  const services = new Set(store.specs.map(({ name }) => name))
  const sources = sourcesOf(new Map([...services].map((name) => [name, packageFolder(name)])))
  ends.defer(await watchSources(sources, (change) => restarts.take(change)))
  restarts.attend()
  showAddresses(store)
  say('Ctrl-C ends it all')
  await stopped
  say('cleaning up')
}

/** A URL answers a GET as it stands; what needs more is a command. */
function showAddresses({ specs, door, catalogUrls, ordersUrls, servers, adminToken }: Store): void {
  const show = (name: string, text: string) => say(`${name.padEnd(20)} ${text}`)
  console.log('')
  if (door) show('gateway', `${door.url}/films?query=matrix`)
  for (const [index, url] of catalogUrls.entries()) show(`catalog-api ${index + 1}`, `${url}/films?query=matrix`)
  const json = `-H 'content-type: application/json' -H "idempotency-key: $(date +%s%N)"`
  show('an order', `curl ${json} -d '{"filmId":1,"quantity":1}' ${ordersUrls[0]}/orders`)
  for (const spec of specs) show(called(spec), `http://127.0.0.1:${spec.adminPort}/ready`)
  const token = `-H 'authorization: Bearer ${adminToken}'`
  const admin = `http://127.0.0.1:${specs[0]!.adminPort}`
  show('metrics', `curl ${token} ${admin}/metrics`)
  show('log level', `curl -X PUT ${token} -d debug ${admin}/level`)
  for (const { name, url } of servers) show(name, url)
}

process.exitCode = await runCommand({
  usage,
  read: readDevOptions,
  run: async (options, signal) => {
    await dev(options, signal)
    return 0
  },
  stopped: () => 0,
})
