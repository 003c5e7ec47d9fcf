import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { allProfiles, filmStore, ownStore, signIn } from '../../examples/containers/src/index.ts'
import { compose, composeContainers, isWell } from '../../packages/stack/src/compose.ts'
import { freePort } from '../../packages/stack/src/index.ts'
import { run } from '../step.ts'
import { check, leavesNothing, must } from './check.ts'

const withinMs = 120_000

/** The store with what gathers lines and traces: an order's lines are found where they are searched, and none was refused. */
export async function logsChecks(): Promise<void> {
  const name = `film-store-logs-${process.pid}`
  const folder = mkdtempSync(join(tmpdir(), 'film-store-logs-'))
  const [shopPort, kibanaPort, jaegerPort] = [await freePort(), await freePort(), await freePort()]
  const env = ownStore({
    COMPOSE_PROJECT_NAME: name,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_PORT: String(shopPort),
    FILM_STORE_KIBANA_PORT: String(kibanaPort),
    FILM_STORE_JAEGER_PORT: String(jaegerPort),
  })
  const project = filmStore(['logs'], env, [...allProfiles, 'logs'])
  const infra = (...args: string[]) => run(process.execPath, ['scripts/infra.ts', ...args], env)
  const shopUrl = `http://127.0.0.1:${shopPort}`
  const count = async (stream: string, query: string): Promise<number> => {
    const ask = `curl --silent --user "elastic:$(cat /run/secrets/elastic_password)" "http://127.0.0.1:9200/${stream}/_count?q=${encodeURIComponent(query)}&ignore_unavailable=true&allow_no_indices=true"`
    return (JSON.parse(await compose(project, 'exec', '-T', 'elasticsearch', 'bash', '-c', ask)) as { count: number }).count
  }
  try {
    const isUp = await check('store and gatherers come up', async () => {
      const code = await infra('up', '--logs', '--no-build')
      const ill = (await composeContainers(project)).filter((each) => !isWell(each)).map(({ Service, State }) => `${Service} is ${State}`)
      return must(code === 0 ? ill : [`exit code ${code}`, ...ill], 'all healthy')
    })
    if (!isUp) {
      console.log(await compose(project, 'logs', '--tail', '30', 'logs-setup', 'elasticsearch', 'logstash', 'filebeat', 'kibana'))
      return
    }
    await check("an order's lines are found", async () => {
      const headers = {
        'content-type': 'application/json',
        'idempotency-key': 'found-in-the-logs',
        authorization: `Bearer ${await signIn(shopUrl, 'me')}`,
      }
      const placed = await fetch(`${shopUrl}/orders`, { method: 'POST', headers, body: JSON.stringify({ filmId: 1, quantity: 1 }) })
      if (placed.status !== 201) throw new Error(`status ${placed.status}`)
      const giveUpAt = performance.now() + withinMs
      for (;;) {
        const found = await count('logs-film_store.logs-production', 'service.name:"orders-api"')
        if (found > 0) return `${found} lines of orders-api`
        if (performance.now() > giveUpAt) throw new Error(`none within ${withinMs / 1000} s`)
        await new Promise((resolve) => setTimeout(resolve, 1_000))
      }
    })
    await check('no line was refused', async () => {
      const refused = await count('logs-film_store.logs-refused', '*')
      return must(refused === 0 ? [] : [`${refused} lines`], 'none')
    })
    await check('Kibana answers', async () => {
      const { status } = await fetch(`http://127.0.0.1:${kibanaPort}/api/status`)
      return must(status === 200 ? [] : [`status ${status}`], 'status 200')
    })
    await check('Jaeger answers', async () => {
      const { status } = await fetch(`http://127.0.0.1:${jaegerPort}/api/services`)
      return must(status === 200 ? [] : [`status ${status}`], 'status 200')
    })
    await check('down --volumes leaves nothing of it', async () => {
      await infra('down', '--volumes')
      return leavesNothing(name)
    })
  } finally {
    await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }
}
