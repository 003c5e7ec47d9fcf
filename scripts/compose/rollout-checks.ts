import { spawnSync } from 'node:child_process'
import { customers, RolledBack, rollout } from '../../examples/containers/src/index.ts'
import { type ComposeProject, docker } from '../../packages/stack/src/compose.ts'

export interface Rolling {
  readonly project: ComposeProject
  readonly shopUrl: string
  /** Prints and counts; `work` answers with what it found and fails by throwing. */
  readonly check: (what: string, work: () => Promise<string> | string) => Promise<boolean>
}

/** Each service is replaced while customers come, and a broken image goes back: nobody gets an error. */
export async function rolloutChecks({ project, shopUrl, check }: Rolling): Promise<void> {
  for (const service of ['catalog-api', 'orders-api', 'fulfilment-worker']) {
    await check(`rollout of ${service} under load`, () => served(shopUrl, () => rollout({ project, service, onProgress: () => {} })))
  }
  const broken = brokenImage()
  try {
    await check('a broken image goes back', () =>
      served(shopUrl, async () => {
        const outcome = await rollout({ project, service: 'catalog-api', image: broken, onProgress: () => {} }).catch(
          (error: unknown) => error,
        )
        if (!(outcome instanceof RolledBack)) throw outcome ?? new Error('it was taken')
      }),
    )
  } finally {
    await docker(['rmi', '--force', broken])
  }
}

async function served(shopUrl: string, work: () => Promise<void>): Promise<string> {
  const startedAt = performance.now()
  await using shop = await customers(shopUrl)
  await work()
  const { all, failed } = shop.answers
  if (failed.length > 0) throw new Error(`${failed.length} of ${all} requests failed: ${failed.slice(0, 3).join(', ')}`)
  return `${((performance.now() - startedAt) / 1000).toFixed(1)} s, ${all} requests, 0 failed`
}

/** Of the service's own, so that everything but its program is the same. */
function brokenImage(): string {
  const name = `film-store/catalog-api:broken-${process.pid}`
  const input = 'FROM film-store/catalog-api\nCMD ["node", "-e", "setTimeout(() => process.exit(1), 1500)"]\n'
  const { status, stderr } = spawnSync('docker', ['build', '--quiet', '--tag', name, '-'], { input, encoding: 'utf8' })
  if (status !== 0) throw new Error(`the broken image was not built: ${stderr}`)
  return name
}
