/**
 * The disaster drill: a store trades and is destroyed; another is restored from a copy of its backups and of its passwords, and the books are compared.
 * Once with all that was archived, once with what was true at a moment before, as a store in which no server is alone.
 */
import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filmStore, infra, signIn } from '@film-store/containers'
import { readFilms } from '@film-store/film-contracts'
import { type AcceptedOrder, shop, type Traffic } from '@film-store/shopper'
import { compose, type ComposeProject } from '@platform/stack/compose'
import { isSettled, type Ledger, readLedger } from './books.ts'
import { judge } from './books/entry.ts'
import { containersOf } from './containers.ts'
import { withClient } from './databases.ts'
import { databaseBooks, sameBooks } from './drill/database-books.ts'
import { flowsAgain, killLeader, ofPostgres, toldOf } from './drill/leaders.ts'
import { asRoot, destroy, layOut, type Site, withDatabases } from './drill/site.ts'
import { printBooks } from './report.ts'
import { type RehearsalOptions, rehearseStore, say, seconds } from './store-rehearsal.ts'

const usage = `Usage: pnpm infra drill [--no-build] [--json FILE]
A store of its own trades and is destroyed; another is restored from its backups, and the books are compared; a third is as the first was at a moment
before, with no server alone. Ends with 1 when they differ, when nobody takes over from the PostgreSQL that leads the third, or when what was lost (RPO)
or the time until an order was settled again (RTO) is more than an hour.`

const targetMs = 3_600_000
const rushOrders = 60
/** Longer than the minute after which a committed order is in the repository at the latest. */
const tradesMs = 75_000
const ordersPerSecond = 4
const settledWithinMs = 120_000

const databaseNow = ({ databases }: Site) =>
  withClient(databases.orders, async (client) => {
    const { rows } = await client.query<{ now: string }>('select clock_timestamp()::text as now')
    return rows[0]!.now
  })

async function settled(site: Site, accepted: readonly AcceptedOrder[], signal: AbortSignal): Promise<Ledger> {
  const deadline = performance.now() + settledWithinMs
  for (;;) {
    signal.throwIfAborted()
    const ledger = await readLedger(site)
    if (isSettled(ledger, accepted) || performance.now() > deadline) return ledger
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

const setting = 'film-store/drill'
const consul = (project: ComposeProject, ...args: string[]) => compose(project, 'exec', '-T', 'consul', 'consul', 'kv', ...args)

/** Tries what cannot be restored; the volume must be empty for the one that can. */
async function refusedRestores({ project, folder }: Pick<Site, 'project' | 'folder'>): Promise<readonly string[]> {
  const attempt = async (what: string, ...args: string[]): Promise<readonly string[]> => {
    const error: unknown = await compose(project, '--progress=quiet', 'run', '--rm', 'restore', 'restore', ...args).catch(
      (reason: unknown) => reason,
    )
    const said = error instanceof Error ? String((error as { stderr?: unknown }).stderr) : 'it was restored'
    return said.includes('the volume was emptied again') ? [] : [`${what}: ${said.trim().split('\n').at(-1)}`]
  }
  const tooEarly = await attempt('a moment before all backups', '2000-01-01 00:00:00+00')
  const key = join(folder, 'secrets/pgbackrest_key')
  const right = await readFile(key, 'utf8')
  const change = async (text: string) => {
    await chmod(key, 0o644)
    await writeFile(key, text)
  }
  await change('[global]\nrepo1-cipher-pass=wrong\n')
  const wrongKey = await attempt('a wrong key')
  await change(right)
  return [...tooEarly, ...wrongKey]
}

async function drill({ build, json }: RehearsalOptions, signal: AbortSignal): Promise<boolean> {
  const { films } = await readFilms()
  await using opened = new AsyncDisposableStack()
  const place = async (name: string, kind?: { readonly ha: boolean }) => {
    const folder = await mkdtemp(join(tmpdir(), `film-store-drill-${name}-`))
    opened.defer(() => rm(folder, { recursive: true, force: true }))
    const site = await layOut(folder, name, kind)
    opened.defer(async () => {
      await compose(site.project, 'down', '--volumes', '--timeout', '1')
      await asRoot(['--volume', `${folder}:/site`], 'rm -rf /site/backups')
    })
    return site
  }
  if (build) await compose(filmStore([], {}), '--progress=quiet', 'build')

  const drawn = await place('first')
  await infra(['up', '--inspect', '--no-build'], drawn.env, signal)
  const first = await withDatabases(drawn)
  say('the first store is up')
  const through = async ({ shopUrl }: Site) => ({
    catalogUrls: [shopUrl],
    ordersUrls: [shopUrl],
    token: await signIn(shopUrl, 'customers of the drill'),
  })
  const buy = async (orders: number, pace: Parameters<typeof shop>[0]['pace'], firstCustomer: number): Promise<Traffic> =>
    shop({ ...(await through(first)), films, orders, pace, seed: 1, firstCustomer, signal })
  const before = await buy(rushOrders, { kind: 'rush', concurrency: 10 }, 0)
  await consul(first.project, 'put', setting, 'kept')
  await infra(['backup'], first.env, signal)
  say(`${before.accepted.length} orders, then a backup`)
  const between = await buy(rushOrders, { kind: 'rush', concurrency: 10 }, 1_000_000)
  const moment = { accepted: [...before.accepted, ...between.accepted] }
  const ledgerThen = await settled(first, moment.accepted, signal)
  const then = await databaseNow(first)
  say(`the moment before is ${then}: ${ledgerThen.orders.length} orders`)
  const after = await buy((tradesMs / 1000) * ordersPerSecond, { kind: 'steady', ordersPerSecond }, 2_000_000)
  const accepted = [...moment.accepted, ...after.accepted]
  const destroyedAt = Date.now()
  const lastCommit = await withClient(first.databases.orders, async (client) => {
    const { rows } = await client.query<{ at: number }>('select extract(epoch from max(placed_at))::float8 * 1000 as at from orders')
    return rows[0]!.at
  })
  await destroy(first)
  say(`the first store is destroyed, with ${accepted.length} orders`)

  const carry = async (to: Pick<Site, 'folder'>) => {
    await cp(join(first.folder, 'secrets'), join(to.folder, 'secrets'), { recursive: true })
    await asRoot(['--volume', `${first.folder}:/from:ro`, '--volume', `${to.folder}:/to`], 'cp -a /from/backups /to/')
  }
  const recoveredAt = performance.now()
  const second = await withDatabases(
    await (async () => {
      const site = await place('second')
      await carry(site)
      return site
    })(),
  )
  for (const line of (await infra(['restore', '--inspect', '--no-build'], second.env, signal)).trim().split('\n'))
    if (!line.startsWith(' ok ')) say(line)
  const order = await shop({
    ...(await through(second)),
    films,
    orders: 1,
    pace: { kind: 'rush', concurrency: 1 },
    seed: 2,
    firstCustomer: 3_000_000,
    signal,
  })
  const everything = [...accepted, ...order.accepted]
  const ledger = await settled(second, order.accepted, signal)
  const rtoMs = performance.now() - recoveredAt
  const kept = new Set(ledger.orders.map(({ id }) => id))
  const survived = everything.filter(({ orderId }) => kept.has(orderId))
  const lost = everything.length - survived.length
  const lastKept = await withClient(second.databases.orders, async (client) => {
    const { rows } = await client.query<{ at: number }>(
      'select extract(epoch from max(placed_at))::float8 * 1000 as at from orders where id = any($1)',
      [accepted.map(({ orderId }) => orderId)],
    )
    return rows[0]!.at
  })
  const rpoMs = lost === 0 ? 0 : Math.max(destroyedAt, lastCommit) - lastKept
  const value = (await consul(second.project, 'get', setting).catch(() => '')).trim()
  say(`${survived.length} orders are back, ${lost} are lost`)

  await destroy(second)

  const third = await place('third', { ha: true })
  await carry(third)
  const refusals = await refusedRestores(third)
  say('a moment of which there is no backup and a wrong key were refused')
  const severalAt = performance.now()
  await infra(['restore', '--ha', '--inspect', '--no-build', '--to', then], third.env, signal)
  const severalMs = performance.now() - severalAt
  const ledgerBack = await readLedger(await withDatabases(third))
  const customer = { url: third.shopUrl, token: await signIn(third.shopUrl, 'customers of the drill') }
  const failover = await killLeader(containersOf(third.project, []), customer, ofPostgres, signal)
  say(`a third store has several servers and is as it was then after ${seconds(severalMs)}; ${toldOf(failover)}`)

  const books = [
    ...databaseBooks(ledger, survived, films),
    judge({
      name: 'Consul holds what it held',
      look: () => ({ faults: value === 'kept' ? [] : [`${setting} is ${value || 'gone'}`], detail: value }),
    }),
    sameBooks(ledgerBack, ledgerThen),
    flowsAgain(failover),
    judge({
      name: 'a restore that cannot be says so and leaves an empty volume',
      look: () => ({ faults: refusals, detail: 'no backup of that moment, a wrong key' }),
    }),
    ...(
      [
        ['RPO', rpoMs, `${lost} of ${accepted.length} orders lost`],
        ['RTO', rtoMs, 'until every order was settled, new ones as well'],
      ] as const
    ).map(([name, ms, detail]) =>
      judge({
        name: `${name} within an hour`,
        look: () => ({ faults: ms <= targetMs ? [] : [seconds(ms)], detail: `${seconds(ms)}, ${detail}` }),
      }),
    ),
  ]
  printBooks(books)
  if (json) await writeFile(json, JSON.stringify({ rtoMs, rpoMs, severalMs, failover, orders: accepted.length, lost, books }, null, 2))
  return books.every(({ holds }) => holds)
}

await rehearseStore(usage, drill)
