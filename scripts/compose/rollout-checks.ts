import { customers, RolledBack, rollout } from '../../examples/containers/src/index.ts'
import { deploysExpr } from '../../examples/operations/src/index.ts'
import { compose, type ComposeProject } from '../../packages/stack/src/compose.ts'
import { type Check, must } from './check.ts'
import { imageWith } from './image-with.ts'
import { askPrometheus } from './watch-checks.ts'

export interface Rolling {
  readonly project: ComposeProject
  readonly shopUrl: string
  readonly prometheusUrl: string
  readonly check: Check
}

/** Each service is replaced while customers come, and a broken image goes back: nobody gets an error. */
export async function rolloutChecks({ project, shopUrl, prometheusUrl, check }: Rolling): Promise<void> {
  const services = ['catalog-api', 'orders-api', 'fulfilment-worker']
  const startedAt = Date.now()
  for (const service of services) {
    await check(`rollout of ${service} under load`, () => served(shopUrl, () => rollout({ project, service, onProgress: () => {} })))
  }
  await check('a broken image goes back', () =>
    served(shopUrl, async () => {
      await using broken = imageWith('catalog-api', 'CMD ["node", "-e", "setTimeout(() => process.exit(1), 1500)"]')
      const outcome = await rollout({ project, service: 'catalog-api', image: broken.name, onProgress: () => {} }).catch(
        (error: unknown) => error,
      )
      if (!(outcome instanceof RolledBack)) throw outcome ?? new Error('it was taken')
    }),
  )
  const wanted = [...services.map((service) => `${service} success`), 'catalog-api rolled-back']
  await check('each deploy is an annotation', () => annotated(prometheusUrl, startedAt, wanted))
  await check('each deploy is a line among the logs', async () => {
    const lines = (await compose(project, 'logs', '--no-log-prefix', 'backup'))
      .split('\n')
      .filter((line) => line.includes('"service.name":"deploy"'))
    const told = lines.map((line) => (JSON.parse(line.slice(line.indexOf('{'))) as { data: { service: string; outcome: string } }).data)
    const found = told.map(({ service, outcome }) => `${service} ${outcome}`)
    return must(
      wanted.filter((each) => !found.includes(each)).map((each) => `no line of ${each}`),
      found.join(', '),
    )
  })
}

/** As the dashboard asks for it. The last one may not have been scraped yet. */
async function annotated(prometheusUrl: string, startedAt: number, wanted: readonly string[]): Promise<string> {
  const giveUpAt = performance.now() + 60_000
  for (;;) {
    const range = `query=${encodeURIComponent(deploysExpr)}&start=${startedAt / 1000}&end=${Date.now() / 1000}&step=5`
    const { result } = await askPrometheus<{ result: { metric: Record<string, string> }[] }>(prometheusUrl, `query_range?${range}`)
    const found = result.map(({ metric: { service, outcome, job, service_version: version } }) =>
      service === undefined ? `${job} ${version}` : `${service} ${outcome}`,
    )
    const missing = wanted.filter((each) => !found.includes(each))
    if (missing.length === 0 || performance.now() > giveUpAt) {
      return must(
        missing.map((each) => `no annotation of ${each}`),
        found.join(', '),
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

/** Does its work while customers come; none of them may get an error. */
export async function served(shopUrl: string, work: () => Promise<void>): Promise<string> {
  const startedAt = performance.now()
  await using shop = await customers(shopUrl)
  await work()
  const { all, failed } = shop.answers
  if (failed.length > 0) throw new Error(`${failed.length} of ${all} requests failed: ${failed.slice(0, 3).join(', ')}`)
  return `${((performance.now() - startedAt) / 1000).toFixed(1)} s, ${all} requests, 0 failed`
}
