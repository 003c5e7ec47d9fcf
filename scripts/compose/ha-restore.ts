import { cpSync, renameSync } from 'node:fs'
import { signIn } from '../../examples/containers/src/index.ts'
import { containersOf } from '../../examples/demo/src/containers.ts'
import { killLeader, ofPostgres, toldOf } from '../../examples/demo/src/drill/leaders.ts'
import { compose, type ComposeProject } from '../../packages/stack/src/compose.ts'
import { type Check, must, seconds } from './check.ts'

interface Restored {
  readonly project: ComposeProject
  /** Folder of the passwords. */
  readonly secrets: string
  readonly shopUrl: string
  readonly infra: (...args: string[]) => Promise<number>
  readonly check: Check
}

/** A cluster is backed up by the one that leads since the first one died, destroyed, restored as a cluster, and its leader is killed again. */
export async function haRestoreChecks({ project, secrets, shopUrl, infra, check }: Restored): Promise<void> {
  const containers = containersOf(project, [])
  const leaderDies = async () =>
    toldOf(
      await killLeader(
        containers,
        { url: shopUrl, token: await signIn(shopUrl, 'customers of the failover') },
        ofPostgres,
        AbortSignal.timeout(240_000),
      ),
    )
  let before = ''
  await check('the other PostgreSQL leads, and is backed up', async () => {
    if ((await ofPostgres.seenBy(containers, 'postgres')) === 'postgres') await leaderDies()
    const code = await infra('backup')
    before = await books(project)
    return must(code === 0 ? [] : [`exit code ${code}`], `from ${await ofPostgres.seenBy(containers, 'postgres')}`)
  })
  await check('its backups are restored into another cluster', async () => {
    cpSync(secrets, `${secrets}.kept`, { recursive: true })
    await infra('down', '--volumes')
    renameSync(`${secrets}.kept`, secrets)
    const startedAt = performance.now()
    const code = await infra('restore', '--ha', '--no-build')
    const after = code === 0 ? await books(project) : `exit code ${code}`
    return must(after === before ? [] : [`${before} became ${after}`], `after ${seconds(performance.now() - startedAt)}: ${after}`)
  })
  await check('whose leader may die as well', leaderDies)
}

const tables = { orders: ['orders'], fulfilment: ['stock', 'taken', 'stock_history'], catalog: ['films'] }

/** A sum over every row of every table that is a book, and how many there are. */
async function books(project: ComposeProject): Promise<string> {
  const sums = Object.entries(tables).flatMap(([database, names]) =>
    names.map(async (table) => {
      const query = `select count(*) || ' ' || md5(coalesce(string_agg(book::text, ';' order by book::text), '')) from ${table} book`
      const told = await compose(
        project,
        'exec',
        '-T',
        'postgres',
        'psql',
        '--tuples-only',
        '--no-align',
        '--username=postgres',
        database,
        '--command',
        query,
      )
      return `${table} ${told.trim()}`
    }),
  )
  return (await Promise.all(sums)).join(', ')
}
