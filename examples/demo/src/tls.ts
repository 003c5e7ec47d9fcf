/** TLS rehearsed: in a store whose parts speak it, renews every certificate twice while customers order, and looks for whoever would do without. */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { authorityFile, renewCertificates, servedCertificates, servedInPlainText } from '@film-store/containers'
import { readFilms } from '@film-store/film-contracts'
import { shop, type Traffic } from '@film-store/shopper'
import { compose, type ComposeProject } from '@platform/stack/compose'
import { judge, type Findings } from './books/entry.ts'
import { openComposeStore } from './compose.ts'
import { databaseBooks } from './drill/database-books.ts'
import { printBooks } from './report.ts'
import { builtCode } from './services.ts'
import { type RehearsalOptions, rehearseStore, say, seconds } from './store-rehearsal.ts'
import { settle } from './trade.ts'

const usage = `Usage: pnpm infra rehearse-tls [--no-build] [--json FILE]
A store of its own whose parts speak TLS. Renews every certificate twice while customers order, sees each part show the new one, looks for whoever
serves without TLS, gives a service a stranger's certificate, and compares the books. Ends with 1 when one of it does not hold.`

/** In a network from which they are reached. */
const listeners = {
  data: [
    'postgres:5432',
    'redis:6379',
    'rabbitmq:5671',
    'rabbitmq:15671',
    'consul:8501',
    'catalog-api-1:3000',
    'catalog-api-2:9000',
    'orders-api-1:3000',
    'orders-api-2:9000',
    'fulfilment-worker:9000',
  ],
  app: ['identity-api:3000', 'identity-api:9000', 'gateway:8080', 'gateway:9000'],
} as const
/** Doors of a store without TLS. */
const plainDoors = ['rabbitmq:5672', 'rabbitmq:15672', 'consul:8500']
const takenOverWithinMs = 60_000
const customersAtOnce = 4

async function rehearse({ build, json }: RehearsalOptions, signal: AbortSignal): Promise<boolean> {
  const { films } = await readFilms()
  await using store = await openComposeStore({ mode: 'compose', tls: true, launcher: builtCode, build, signal, onProgress: say })
  const { project, secrets } = store.compose
  const { url, signIn } = store.door!
  const network = (name: string) => `${project.env['COMPOSE_PROJECT_NAME']}_${name}`
  const shown = async () =>
    Object.assign(
      {},
      ...(await Promise.all(
        Object.entries(listeners).map(([name, targets]) => servedCertificates(network(name), authorityFile(secrets), targets)),
      )),
    ) as Record<string, string>
  const serials = await shown()
  const unbelieved = Object.entries(serials).filter(([, serial]) => !/^[0-9A-F]+$/.test(serial))
  const inPlainText = [
    ...(await servedInPlainText(network('data'), [...listeners.data, ...plainDoors])),
    ...(await servedInPlainText(network('app'), listeners.app)),
  ]
  say(`${Object.keys(serials).length} listeners, ${inPlainText.length} serve without TLS`)

  let done = false
  const token = await signIn('customers of the rehearsal')
  const shopping = shop({
    ...store,
    token,
    films,
    orders: 1,
    pace: { kind: 'rush', concurrency: customersAtOnce },
    seed: 1,
    signal,
    goOn: () => !done,
  })
  const renewals: number[] = []
  try {
    for (const before of [serials, undefined]) renewals.push(await renewed(project, shown, before ?? (await shown()), signal))
    // As long as the old workers of the gateway may live.
    await pause(5_000, undefined, { signal })
  } finally {
    done = true
  }
  const traffic = await shopping
  say(
    `${traffic.accepted.length} orders, ${traffic.views.length} pages while certificates were renewed; sent again: ${JSON.stringify(traffic.passes)}`,
  )
  const ledger = await settle(store, traffic, signal)
  const stranger = await withStranger(project, secrets, url, signal)

  const books = [
    judge({
      name: 'every part shows a certificate of the authority, for its own name',
      look: () => ({ faults: unbelieved.map(([target, why]) => `${target}: ${why}`), detail: `${Object.keys(serials).length} listeners` }),
    }),
    judge({
      name: 'nobody is served without TLS',
      look: () => ({ faults: inPlainText, detail: 'each listener, and the doors of a store without' }),
    }),
    judge({
      name: 'each renewed certificate is in use by itself',
      look: () => ({ faults: [], detail: renewals.map((ms) => `after ${seconds(ms)}`).join(', ') }),
    }),
    judge({ name: 'no request was answered with an error meanwhile', look: () => answered(traffic, renewals.length) }),
    judge({ name: 'who has a certificate of a stranger is not believed', look: () => stranger }),
    ...databaseBooks(ledger, traffic.accepted, films),
  ]
  printBooks(books)
  if (json) await writeFile(json, JSON.stringify({ renewals, orders: traffic.accepted.length, requests: traffic.requests, books }, null, 2))
  return books.every(({ holds }) => holds)
}

/**
 * An answer of 5xx is a fault. Without any answer was who sent on a connection that the door closed at that moment, or waited two seconds for one: a browser
 * asks again, and each customer may have to once at each renewal.
 */
function answered({ requests, unexpected, passes }: Traffic, renewals: number): Findings {
  const { 'no answer': unanswered = 0, ...failed } = passes
  const faults = [
    ...unexpected.slice(0, 5),
    ...Object.entries(failed).map(([status, count]) => `${count} times ${status}`),
    ...(unanswered > customersAtOnce * renewals ? [`${unanswered} had no answer`] : []),
  ]
  return { faults, detail: `${requests} requests, ${unanswered} of them asked again` }
}

/** Resolves with the time until every listener shows another certificate than before. */
async function renewed(
  project: ComposeProject,
  shown: () => Promise<Record<string, string>>,
  before: Record<string, string>,
  signal: AbortSignal,
): Promise<number> {
  const startedAt = performance.now()
  await renewCertificates(project)
  for (;;) {
    signal.throwIfAborted()
    const now = await shown()
    const old = Object.keys(before).filter((target) => now[target] === before[target] || !/^[0-9A-F]+$/.test(now[target]!))
    const tookMs = performance.now() - startedAt
    if (old.length === 0) {
      say(`every certificate was renewed and is in use after ${seconds(tookMs)}`)
      return tookMs
    }
    if (tookMs > takenOverWithinMs) throw new Error(`not renewed within ${seconds(takenOverWithinMs)}: ${old.join(', ')}`)
    await pause(500, undefined, { signal })
  }
}

/** catalog-api gets a certificate of its name that no authority has signed: the gateway must serve nobody from it, and does again with the right one. */
async function withStranger(project: ComposeProject, secrets: string, url: string, signal: AbortSignal) {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc']
  const names = ['-subj', '/CN=catalog-api', '-addext', 'subjectAltName=DNS:catalog-api']
  const make = ['openssl', 'req', '-x509', ...key, '-days', '1', ...names, '-keyout', '/dev/stdout', '-out', '/dev/stdout']
  const pem = await compose(project, 'exec', '-T', 'certificates', ...make)
  const file = join(secrets, 'tls/catalog-api/certificate.pem')
  await mkdir(dirname(file), { recursive: true })
  await writeFile(`${file}.new`, pem, { mode: 0o444 })
  await rename(`${file}.new`, file)
  // Connections that are open would go on.
  await compose(project, 'restart', 'catalog-api-1', 'catalog-api-2')
  // A page that no cache of the gateway's could know: there is none.
  const page = async () => (await fetch(`${url}/films/2`, { signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]) })).status
  const until = async (isSo: (status: number) => boolean, what: string) => {
    const giveUpAt = performance.now() + takenOverWithinMs
    for (;;) {
      if (isSo(await page())) return []
      if (performance.now() > giveUpAt) return [what]
      await pause(250, undefined, { signal })
    }
  }
  const refused = await until((status) => status >= 500, 'the gateway went on to serve from it')
  await renewCertificates(project)
  const back = await until((status) => status === 200, 'the right one was not believed again')
  return { faults: [...refused, ...back], detail: 'catalog-api behind the gateway' }
}

await rehearseStore(usage, rehearse)
