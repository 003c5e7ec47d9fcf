import { execFile } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { registry } from '@platform/metrics'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import { askInside } from './ask.ts'
import { recorded } from './deploy-event.ts'

/** The instances of each service, in the order in which they are replaced. */
const instances: Readonly<Record<string, readonly string[]>> = {
  'catalog-api': ['catalog-api-1', 'catalog-api-2'],
  'orders-api': ['orders-api-1', 'orders-api-2'],
  'fulfilment-worker': ['fulfilment-worker'],
}
export const rolledOut: readonly string[] = Object.keys(instances)
/** Why not, of those that cannot have another beside them. */
const refusals: Readonly<Record<string, string>> = {
  gateway:
    'the gateway holds the port of this host, so that no other can start beside it: `infra up` replaces it, which is some three seconds without a door. A change of its routes needs no new one: docs/operations/compose.md#the-door',
  'identity-api':
    'identity-api keeps its keys in memory, so that its tokens end with it: `infra up` replaces it, and customers sign in again',
}
/** By which Compose knows how to build the image. */
export const firstOf = (service: string): string => instances[service]![0]!

const healthyWithinMs = 120_000
/** The gateway looks names up every second, and nginx asks it every second. */
const foundAfterMs = 3_000
/** How long a new instance serves before the next is replaced. */
const watchedMs = 5_000
/** So many answers of 5xx within that time are no accident, if they are more than one in twenty. */
const tolerated = { errors: 5, share: 0.05 }

export interface Rollout {
  readonly project: ComposeProject
  readonly service: string
  /** What to roll out, here or in a registry; without it the image that `build` made. */
  readonly image?: string | undefined
  /** Stops it as a new instance that does not do would: what was replaced goes back. */
  readonly signal?: AbortSignal | undefined
  readonly onProgress: (line: string) => void
}

export class RolledBack extends Error {}

/**
 * Replaces each instance: the new one starts beside the old, is ready and found, then the old one drains and leaves. When a new one is not healthy
 * or answers errors, those before it go back to the image that ran: rejects with `RolledBack`.
 */
export async function rollout(of: Rollout): Promise<void> {
  const { project, service, image = `film-store/${service}` } = of
  const names = instances[service]
  if (names === undefined) throw new Error(refusals[service] ?? `there is no service ${service}: ${rolledOut.join(', ')}`)
  for (const name of names) await theContainer(project, name)
  await here(image)
  const version = of.image ?? (await inspect(image, '{{.Id}}')).slice('sha256:'.length, 19)
  await recorded(
    project,
    { service, version },
    () => replaceAll(of, names),
    (error) => (error instanceof RolledBack ? 'rolled-back' : 'failure'),
  )
}

async function replaceAll({ project, service, image, signal, onProgress }: Rollout, names: readonly string[]): Promise<void> {
  const tag = `film-store/${service}`
  const before = await imageOf(await theContainer(project, names[0]!))
  if (image !== undefined) await docker(['tag', image, tag])
  const replaced: string[] = []
  try {
    await migrate(project, service, onProgress)
    for (const name of names) {
      signal?.throwIfAborted()
      replaced.push(name)
      await replace(project, name, onProgress, signal)
    }
    await renewMigration(project, service, names[0]!)
  } catch (cause) {
    onProgress(`${(cause as Error).message}: back to ${before.slice(7, 19)}`)
    // Whatever starts an instance from now on starts the one of before.
    await docker(['tag', before, tag])
    for (const name of replaced.toReversed()) await goBack(project, name, before, onProgress)
    await renewMigration(project, service, names[0]!)
    throw new RolledBack(`${service} runs what it ran before: ${(cause as Error).message}`, { cause })
  }
}

const migrationOf = (service: string) => `migrate-${service.split('-')[0]}`

/** Schemas first, by the new image; they must suit the old one as well, which still runs. */
async function migrate(project: ComposeProject, service: string, onProgress: (line: string) => void): Promise<void> {
  const migration = migrationOf(service)
  await compose(project, 'run', '--rm', '--no-deps', migration).catch((error: Error & { stdout?: string; stderr?: string }) => {
    throw new Error(`${migration} failed:\n${lastOf(`${error.stdout ?? ''}${error.stderr ?? ''}`)}`, { cause: error })
  })
  onProgress(`${migration} is done`)
}

/**
 * The store's own container of the migration is of the image that the instances have. Otherwise the next `up` would make it anew, and Compose before 2.29.4
 * with it everybody who waits for it, up to the gateway.
 */
async function renewMigration(project: ComposeProject, service: string, instance: string): Promise<void> {
  const migration = migrationOf(service)
  const image = await imageOf(await theContainer(project, instance))
  const found = await containersOf(project, migration)
  const images = await Promise.all(found.map(imageOf))
  if (images.length === 1 && images[0] === image) return
  for (const id of found) await remove(id)
  await docker(['start', '--attach', await another(project, migration)])
}

async function replace(project: ComposeProject, name: string, onProgress: (line: string) => void, signal?: AbortSignal): Promise<void> {
  const startedAt = performance.now()
  const old = await theContainer(project, name)
  try {
    const fresh = await another(project, name)
    await docker(['start', fresh])
    await healthy(fresh, name, signal)
    await pause(foundAfterMs, undefined, { signal })
    await watch(fresh, name, signal)
  } catch (error) {
    for (const id of await containersOf(project, name)) if (id !== old) await remove(id)
    // An abort says why by its reason.
    signal?.throwIfAborted()
    throw error
  }
  await leave(old)
  onProgress(`${name} was replaced in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
}

/** An instance that has the old image still, or again, stays. */
async function goBack(project: ComposeProject, name: string, before: string, onProgress: (line: string) => void): Promise<void> {
  if ((await imageOf(await theContainer(project, name))) !== before) await replace(project, name, onProgress)
}

async function containersOf(project: ComposeProject, name: string): Promise<string[]> {
  return (await compose(project, 'ps', '--all', '--quiet', '--no-trunc', name)).split('\n').filter(Boolean)
}

/**
 * One more, which is not started yet. `up --no-deps` would do both, but Compose before 2.29.3 takes such a container for one of another description: the next
 * `up` would make it anew.
 */
async function another(project: ComposeProject, name: string): Promise<string> {
  const there = await containersOf(project, name)
  await compose(project, '--progress=quiet', 'create', '--no-recreate', '--no-build', '--scale', `${name}=${there.length + 1}`, name)
  return (await containersOf(project, name)).find((id) => !there.includes(id))!
}

async function theContainer(project: ComposeProject, name: string): Promise<string> {
  const [only, ...others] = await containersOf(project, name)
  if (only === undefined) throw new Error(`${name} is not there: \`pnpm infra up\` starts it`)
  if (others.length > 0)
    throw new Error(`${name} runs ${others.length + 1} times, as a rollout that was cut off leaves it: remove one by docker rm --force`)
  return only
}

async function inspect(id: string, format: string): Promise<string> {
  return (await docker(['inspect', '--format', format, id])).trim()
}

/** On this machine, or brought to it. */
async function here(image: string): Promise<void> {
  const isHere = await inspect(image, '{{.Id}}').then(
    () => true,
    () => false,
  )
  if (!isHere)
    await docker(['pull', '--quiet', image]).catch((error: { stderr?: string }) => {
      throw new Error(`there is no image ${image}, here or in a registry: ${error.stderr?.trim()}`, { cause: error })
    })
}

const lastOf = (said: string) => said.trim().split('\n').slice(-5).join('\n')

/** Of both its streams, in which a failure is told. */
async function lastLines(id: string): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)('docker', ['logs', '--tail', '5', id])
  return lastOf(`${stdout}${stderr}`)
}

const imageOf = (id: string) => inspect(id, '{{.Image}}')

async function healthy(id: string, name: string, signal?: AbortSignal): Promise<void> {
  const giveUpAt = performance.now() + healthyWithinMs
  for (;;) {
    const [state, health, restarts] = (await inspect(id, '{{.State.Status}} {{.State.Health.Status}} {{.RestartCount}}')).split(' ')
    if (state === 'running' && health === 'healthy') return
    if (state === 'exited' || state === 'dead' || Number(restarts) > 0)
      throw new Error(`the new ${name} ends while it starts; it said last:\n${await lastLines(id)}`)
    if (health === 'unhealthy' || performance.now() > giveUpAt)
      throw new Error(`the new ${name} is not healthy within ${healthyWithinMs / 1000} s; it said last:\n${await lastLines(id)}`)
    await pause(250, undefined, { signal })
  }
}

const requests = registry['http.server.request.duration']

/** Answers and those of 5xx, as the instance counts them itself. */
const counts = `${askInside}
ask('/metrics').then(async (answer) => {
  if (!answer.ok) throw new Error('metrics: ' + answer.status)
  let all = 0, errors = 0
  for (const [, labels, count] of (await answer.text()).matchAll(/^${requests.prometheus}_count\\{(.*)\\} (\\d+)/gm)) {
    all += Number(count)
    if (/${requests.labels['http.response.status_code']}="5/.test(labels)) errors += Number(count)
  }
  console.log(JSON.stringify({ all, errors }))
})`

async function watch(id: string, name: string, signal?: AbortSignal): Promise<void> {
  await pause(watchedMs, undefined, { signal })
  const { all, errors } = JSON.parse(await docker(['exec', id, 'node', '-e', counts])) as { all: number; errors: number }
  if (errors >= tolerated.errors && errors > all * tolerated.share)
    throw new Error(`the new ${name} answered ${errors} of ${all} requests with an error`)
  if ((await inspect(id, '{{.State.Health.Status}}')) !== 'healthy') throw new Error(`the new ${name} fell ill`)
}

/** It drains by itself: the engine waits as long as the service's grace period. */
async function leave(id: string): Promise<void> {
  // Ctrl-C ends the command that waits, not the stop: the second one goes on waiting.
  await docker(['stop', id]).catch(() => docker(['stop', id]))
  await remove(id)
}

async function remove(id: string): Promise<void> {
  await docker(['rm', '--force', id])
}
