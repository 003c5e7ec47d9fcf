import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '@platform/stack'
import { docker } from '@platform/stack/compose'
import { customers, orderRequest } from './customers.ts'
import { deploy, DeployRefused } from './deploy.ts'
import { releasedImage } from './image-names.ts'
import { filmStore } from './project.ts'
import { oneNodeSwarm, removeStack } from './one-node-swarm.ts'
import { writeSecrets } from './secrets.ts'
import { ownStore } from './settings.ts'
import { signIn } from './sign-in.ts'

export interface Rehearsed {
  readonly what: string
  readonly fault?: string
  readonly detail: string
}

/**
 * The stack on a swarm of this one machine, which must not be in a swarm yet and is in none afterwards: deployed, replaced by another release under load,
 * and by one that does not start, which must go back. Nobody may get an error.
 */
export async function rehearseStack(onProgress: (line: string) => void, signal: AbortSignal): Promise<Rehearsed[]> {
  const stack = `film-store-stack-${process.pid}`
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'film-store-stack-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const env = ownStore({ FILM_STORE_SECRETS: join(folder, 'secrets'), FILM_STORE_PORT: String(await freePort()) })
  writeSecrets(env.FILM_STORE_SECRETS)
  const project = filmStore([], env)
  const shopUrl = `http://127.0.0.1:${env.FILM_STORE_PORT}`

  opened.use(await oneNodeSwarm())
  const releases = await makeReleases(opened)
  opened.defer(() => removeStack(stack))

  const results: Rehearsed[] = []
  const note = (result: Rehearsed) => {
    onProgress(`${result.fault ? 'FAIL' : ' ok '} ${result.what}: ${result.fault ?? result.detail}`)
    results.push(result)
  }
  // The gateway stays: it holds the only port of the only node, so that its replacement is a gap whoever makes it.
  const release = (version: string) => deploy({ project, stack, version, gatewayVersion: releases.first, onProgress, signal })
  const startedAt = performance.now()
  await release(releases.first)
  note({ what: 'deployed from nothing', detail: seconds(startedAt) })
  note(await firstOrder(shopUrl, signal))
  note(await served(shopUrl, 'another release under load', signal, () => release(releases.second)))
  note(
    await served(shopUrl, 'a release that does not start goes back', signal, async () => {
      const outcome = await release(releases.broken).catch((error: unknown) => error)
      if (!(outcome instanceof DeployRefused)) throw outcome ?? new Error('it was taken')
    }),
  )
  return results
}

const firstOrderWithinMs = 30_000

/** All tasks of a first deploy run before the gateway has found its instances and the keys of its tokens. */
async function firstOrder(shopUrl: string, signal: AbortSignal): Promise<Rehearsed> {
  const what = 'the first order after that'
  const startedAt = performance.now()
  for (let last = ''; ; ) {
    try {
      const answer = await fetch(`${shopUrl}/orders`, { ...orderRequest(await signIn(shopUrl, 'the first')), signal })
      if (answer.ok) return { what, detail: seconds(startedAt) }
      last = `${answer.status} ${await answer.text()}`
    } catch (error) {
      signal.throwIfAborted()
      last = String((error as Error).cause ?? error)
    }
    if (performance.now() - startedAt > firstOrderWithinMs) return { what, detail: '', fault: `not accepted within 30 s: ${last}` }
    await pause(100, undefined, { signal })
  }
}

const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`

async function served(shopUrl: string, what: string, signal: AbortSignal, work: () => Promise<void>): Promise<Rehearsed> {
  const startedAt = performance.now()
  await using shop = await customers(shopUrl)
  try {
    await work()
  } catch (error) {
    signal.throwIfAborted()
    return { what, fault: (error as Error).message, detail: '' }
  }
  const { all, failed } = shop.answers
  const detail = `${seconds(startedAt)}, ${all} requests, ${failed.length} failed`
  return failed.length === 0 ? { what, detail } : { what, detail, fault: `${detail}: ${failed.slice(0, 3).join(', ')}` }
}

/** The same images under three tags: as they are, another build of them, and one in which catalog-api ends at once. */
async function makeReleases(opened: AsyncDisposableStack): Promise<Record<'first' | 'second' | 'broken', string>> {
  const names = (await docker(['images', '--format', '{{.Repository}}', '--filter', 'reference=film-store/*:latest'])).trim().split('\n')
  const tag = (release: string) => `${release}-${process.pid}`
  opened.defer(async () => {
    const tags = names.flatMap((name) => ['first', 'second', 'broken'].map((release) => `${name}:${tag(release)}`))
    await docker(['rmi', '--force', ...tags])
  })
  const server = releasedImage('film-store/postgres', { version: '' })
  await docker(['tag', 'film-store/postgres', server])
  opened.defer(async () => void (await docker(['rmi', server])))
  for (const name of names) {
    await docker(['tag', name, `${name}:${tag('first')}`])
    buildOn(name, `${name}:${tag('second')}`, 'LABEL film-store.release=second')
    const ends = name === 'film-store/catalog-api' ? 'CMD ["node", "-e", "setTimeout(() => process.exit(1), 1500)"]' : ''
    buildOn(`${name}:${tag('second')}`, `${name}:${tag('broken')}`, ends)
  }
  return { first: tag('first'), second: tag('second'), broken: tag('broken') }
}

function buildOn(from: string, to: string, change: string): void {
  const { status, stderr } = spawnSync('docker', ['build', '--quiet', '--tag', to, '-'], {
    input: `FROM ${from}\n${change}\n`,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`${to} was not built: ${stderr}`)
}
