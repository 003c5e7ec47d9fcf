/** One variant of the question db-pool in a fresh process: `<work>/<library>`; prints what it measured as JSON. */
import { createServer, connect as tcpConnect } from 'node:net'
import { createDbPool, toPgPool } from '@platform/db-pool'
import { Kysely, PostgresDialect, sql as kyselySql } from 'kysely'
import pg from 'pg'
import postgres from 'postgres'
import { createPool, sql as slonikSql } from 'slonik'

const url = process.env['BENCH_DATABASE_URL'] ?? ''
const [name = '', mode] = process.argv.slice(2)
const [work = '', library = ''] = name.split('/')
const quick = mode === 'quick'

interface Client {
  select(value: number): Promise<number>
  insert(id: number): Promise<unknown>
  /** Five statements in one transaction. */
  transaction(value: number): Promise<unknown>
  /** A connection, and back. */
  borrow?(): Promise<void>
  close(): Promise<unknown>
}

const five = [
  'select $1::int as n',
  'select $1::int + 1 as n',
  'select $1::int + 2 as n',
  'select $1::int + 3 as n',
  'select $1::int + 4 as n',
]

function open(from: string, maxSize: number): Client {
  if (library === 'ours' || library === 'ours, reset') {
    const db = createDbPool({ url: from, maxSize, acquireTimeoutMs: 60_000 })
    const text = library === 'ours' ? 'select $1::int as n' : 'select bench_echo($1::int) as n'
    return {
      select: async (value) => (await db.query<{ n: number }>(text, [value])).rows[0]?.n ?? -1,
      insert: (id) => db.query('insert into bench_films values ($1)', [id]),
      transaction: (value) =>
        db.transaction(async (tx) => {
          for (const each of five) await tx.query(each, [value])
        }),
      borrow: () => db.withConnection(async () => {}),
      close: () => db.close(),
    }
  }
  if (library === 'pg.Pool') {
    const pool = new pg.Pool({ connectionString: from, max: maxSize })
    return {
      select: async (value) => (await pool.query<{ n: number }>('select $1::int as n', [value])).rows[0]?.n ?? -1,
      insert: (id) => pool.query('insert into bench_films values ($1)', [id]),
      async transaction(value) {
        const client = await pool.connect()
        try {
          await client.query('begin')
          for (const each of five) await client.query(each, [value])
          await client.query('commit')
        } finally {
          client.release()
        }
      },
      borrow: async () => (await pool.connect()).release(),
      close: () => pool.end(),
    }
  }
  if (library === 'postgres.js') {
    const sql = postgres(from, { max: maxSize, onnotice: () => {} })
    return {
      select: async (value) => (await sql<{ n: number }[]>`select ${value}::int as n`)[0]?.n ?? -1,
      insert: (id) => sql`insert into bench_films values (${id})`,
      transaction: (value) =>
        sql.begin(async (tx) => {
          for (const each of five) await tx.unsafe(each, [value])
        }),
      close: () => sql.end(),
    }
  }
  if (library === 'slonik') {
    const opening = createPool(from, { maximumPoolSize: maxSize, minimumPoolSize: 0 } as never)
    const one = (value: number) => slonikSql.unsafe`select ${value}::int as n`
    return {
      select: async (value) => Number(((await (await opening).one(one(value))) as { n: number }).n),
      insert: async (id) => (await opening).query(slonikSql.unsafe`insert into bench_films values (${id})`),
      transaction: async (value) =>
        (await opening).transaction(async (tx) => {
          for (let n = 0; n < five.length; n++) await tx.query(one(value + n))
        }),
      borrow: async () => (await opening).connect(async () => {}),
      close: async () => (await opening).end(),
    }
  }
  throw new Error(`unknown library ${library}`)
}

/** `calls` calls, `concurrency` at a time. */
async function drive(concurrency: number, calls: number, call: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      for (let n = next++; n < calls; n = next++) await call(n)
    }),
  )
}

async function cpuOf(concurrency: number, calls: number, call: (n: number) => Promise<unknown>) {
  await drive(concurrency, Math.ceil(calls / 4), call)
  const before = process.cpuUsage()
  const since = performance.now()
  await drive(concurrency, calls, call)
  const { user, system } = process.cpuUsage(before)
  const seconds = (performance.now() - since) / 1_000
  return { cpuUs: (user + system) / calls, perSecond: calls / seconds }
}

async function kysely() {
  const db = createDbPool({ url, maxSize: 10 })
  const pool = library === 'ours' ? toPgPool(db) : new pg.Pool({ connectionString: url, max: 10 })
  const orm = new Kysely<object>({ dialect: new PostgresDialect({ pool }) })
  const measured = await cpuOf(10, quick ? 4_000 : 20_000, (n) => kyselySql`select ${n}::int as n`.execute(orm))
  await orm.destroy()
  await db.close()
  return measured
}

/** Warm with 5 connections, then 50 calls of 2 ms at once, where a new connection takes 150 ms. */
async function spike() {
  const target = new URL(url)
  let accepted = 0
  const slow = createServer((near) => {
    accepted++
    near.on('error', () => {}).pause()
    setTimeout(() => {
      const far = tcpConnect(Number(target.port), target.hostname)
      far.on('error', () => near.destroy()).on('close', () => near.destroy())
      near.on('close', () => far.destroy())
      near.pipe(far)
      far.pipe(near)
    }, 150)
  })
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
  const through = Object.assign(new URL(url), { port: String((slow.address() as { port: number }).port) })
  const db = library === 'ours' ? createDbPool({ url: through.href, maxSize: 50 }) : undefined
  const pool = db === undefined ? new pg.Pool({ connectionString: through.href, max: 50 }) : undefined
  const ask = async (seconds: number): Promise<void> => {
    await (db ? db.query('select pg_sleep($1)', [seconds]) : pool?.query('select pg_sleep($1)', [seconds]))
  }
  await Promise.all(Array.from({ length: 5 }, () => ask(0.2)))
  // It learns, as it would in a minute of traffic, what a connection and a use take.
  for (let round = 0; round < 60; round++) await Promise.all(Array.from({ length: 5 }, () => ask(0.002)))
  const before = accepted
  const latencies = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const since = performance.now()
      await ask(0.002)
      return performance.now() - since
    }),
  )
  await new Promise((resolve) => setTimeout(resolve, 400))
  const result = { p99Ms: latencies.toSorted((a, b) => a - b).at(-1) ?? 0, connections: 5 + accepted - before }
  await (db ? db.close() : pool?.end())
  slow.close()
  return result
}

async function measure() {
  if (work === 'kysely') return kysely()
  if (work === 'spike') return spike()
  const [, kind = '', at = '10'] = /^(\w+)(?:@(\d+))?$/.exec(work) ?? []
  const client = open(url, 10)
  const calls = (full: number): number => (quick ? Math.ceil(full / 5) : full)
  try {
    if ((await client.select(41)) !== 41) throw new Error('a wrong answer')
    if (kind === 'select') return await cpuOf(Number(at), calls(20_000), (n) => client.select(n))
    if (kind === 'transaction') return await cpuOf(Number(at), calls(4_000), (n) => client.transaction(n))
    if (kind === 'borrow') return await cpuOf(Number(at), calls(100_000), () => client.borrow?.() ?? Promise.resolve())
    // Every tenth insert violates a unique constraint.
    let id = Math.floor(Math.random() * 1e8) * 10
    let violations = 0
    const measured = await cpuOf(Number(at), calls(5_000), (n) =>
      client.insert(n % 10 === 0 ? 1 : ++id).catch(() => {
        violations++
      }),
    )
    if (violations === 0) throw new Error('no violation')
    return measured
  } finally {
    await client.close()
  }
}

console.log(JSON.stringify(await measure()))
process.exit(0)
