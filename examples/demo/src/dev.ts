/** The film store from its sources, staying up: an edit of a service or a library restarts what uses it. */
import { join } from 'node:path'
import { styleText } from 'node:util'
import { followLog } from './follow-log.ts'
import { type Launcher, packageFolder } from './services.ts'
import { openStore } from './store.ts'

/** Nest reads the types of constructor parameters at run time, which only a compiler writes down. */
const withDecorators = ['orders-api']

const fromSource: Launcher = (service, program) => {
  const cwd = packageFolder(service)
  const watch = program === 'main' ? ['--watch', '--watch-preserve-output'] : []
  const compile = withDecorators.includes(service) ? ['--import', '@swc-node/register/esm-register'] : []
  return { args: [...watch, '--conditions=@platform/source', ...compile, join('src', `${program}.ts`)], cwd }
}

const say = (line: string) => console.log(styleText('dim', `dev │ ${line}`))
const stop = new AbortController()
const stopped = new Promise<void>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      stop.abort(new Error(`stopped by ${signal}`))
      resolve()
    })
  }
})

async function dev(): Promise<void> {
  const mode = process.argv.includes('--native') ? 'native' : 'embedded'
  await using store = await openStore({ mode, launcher: fromSource, signal: stop.signal, onProgress: say, onLog: followLog })
  console.log('')
  for (const [index, url] of store.catalogUrls.entries()) say(`catalog-api ${index + 1}        ${url}/films?query=matrix`)
  for (const [index, url] of store.ordersUrls.entries()) say(`orders-api ${index + 1}         ${url}/orders`)
  for (const { name, instance, adminPort } of store.specs) {
    say(`${`${name} ${instance}`.padEnd(20)} http://127.0.0.1:${adminPort}/ready and /metrics`)
  }
  for (const { name, url } of store.servers) say(`${name.padEnd(20)} ${url}`)
  say('Ctrl-C ends it all')
  await stopped
  say('cleaning up')
}

try {
  await dev()
} catch (error) {
  if (!stop.signal.aborted) throw error
}
