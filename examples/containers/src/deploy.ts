import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import { deployLine } from './deploy-event.ts'
import { type ComposeConfig, stackOf, type StackOptions } from './stack.ts'

export interface Deployment extends Omit<StackOptions, 'part'> {
  readonly project: ComposeProject
  readonly onProgress: (line: string) => void
  /** Ends the waiting; what the swarm has begun it goes on with. */
  readonly signal?: AbortSignal
}

/** A service went back to what it ran before. */
export class DeployRefused extends Error {}

const foundationsWithinMs = 300_000
const updatedWithinMs = 600_000

/**
 * Deploys to the swarm that the docker command talks to (`DOCKER_HOST`): servers and migrations first, then the services, one instance after the other. A
 * service whose new instances are not healthy goes back by itself; rejects with `DeployRefused` then, and the others stay as they are.
 */
export async function deploy(of: Deployment): Promise<void> {
  const startedAt = performance.now()
  const tell = (outcome: 'success' | 'rolled-back' | 'failure') =>
    of.onProgress(deployLine({ service: of.stack, version: of.version, outcome, tookMs: performance.now() - startedAt }))
  try {
    await update(of)
  } catch (error) {
    tell(error instanceof DeployRefused ? 'rolled-back' : 'failure')
    throw error
  }
  tell('success')
}

async function update({ project, stack, onProgress, signal, ...options }: Deployment): Promise<void> {
  const config = JSON.parse(await compose(project, 'config', '--format', 'json')) as ComposeConfig
  const startedAt = performance.now()
  const since = () => `after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`
  await apply(stack, stackOf(config, { ...options, stack, part: 'foundations' }))
  await until(foundationsWithinMs, signal, async () => (await look(stack)).behind)
  onProgress(`servers and migrations ${since()}`)
  await apply(stack, stackOf(config, { ...options, stack, part: 'services' }))
  await until(updatedWithinMs, signal, async () => {
    const { behind, refused } = await look(stack)
    if (refused.length > 0) throw new DeployRefused(refused.join('; '))
    return behind
  })
  onProgress(`services ${since()}`)
}

async function apply(stack: string, file: object): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'film-store-stack-'))
  try {
    const path = join(folder, 'stack.json')
    await writeFile(path, JSON.stringify(file))
    await docker(['stack', 'deploy', '--detach=true', '--resolve-image=changed', '--with-registry-auth', '--compose-file', path, stack])
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface Service {
  readonly ID: string
  readonly Spec: {
    readonly Name: string
    readonly TaskTemplate: { readonly ContainerSpec: object }
    readonly Mode: { readonly Replicated?: { readonly Replicas: number } }
  }
  readonly UpdateStatus?: { readonly State: string; readonly Message: string }
}

interface Task {
  readonly ServiceID: string
  readonly Spec: { readonly ContainerSpec: object }
  readonly Status: { readonly State: string }
}

interface Looked {
  /** Services that do not run yet what they are to run, and jobs that are not done. */
  readonly behind: readonly string[]
  /** Those that went back to what they ran before, and why. */
  readonly refused: readonly string[]
}

/**
 * By what each instance runs, not by how many there are: in the moment after a deploy was accepted all of the old ones still run, and no update has
 * begun that could be seen.
 */
async function look(stack: string): Promise<Looked> {
  const named = linesOf(await docker(['stack', 'services', '--format', '{{.ID}} {{.Name}} {{.Replicas}}', stack]))
  const services = JSON.parse(await docker(['service', 'inspect', ...named.map((line) => line.split(' ')[0]!)])) as Service[]
  const tasks = await tasksOf(stack)
  const isDone = ({ ID, Spec, UpdateStatus }: Service) => {
    const { Mode, TaskTemplate } = Spec
    if (Mode.Replicated === undefined) return isJobDone(named.find((line) => line.startsWith(ID.slice(0, 12))) ?? '')
    const current = tasks.filter(
      (task) => task.ServiceID === ID && task.Status.State === 'running' && isSame(task.Spec.ContainerSpec, TaskTemplate.ContainerSpec),
    )
    return current.length === Mode.Replicated.Replicas && ['', 'completed'].includes(UpdateStatus?.State ?? '')
  }
  return {
    behind: services.filter((each) => !isDone(each)).map(({ Spec }) => Spec.Name),
    refused: services
      .filter(({ UpdateStatus }) => /^(rollback_completed|rollback_paused|paused)$/.test(UpdateStatus?.State ?? ''))
      .map(({ Spec, UpdateStatus }) => `${Spec.Name} ${UpdateStatus!.State}: ${UpdateStatus!.Message}`),
  }
}

/** What docker adds to the description of a service where it says nothing, and not to that of an instance. */
const defaults = { StopGracePeriod: 10_000_000_000, DNSConfig: {} }

/** Does an instance run what its service says? */
export function isSame(instance: object, service: object): boolean {
  return isDeepStrictEqual({ ...defaults, ...instance }, { ...defaults, ...service })
}

const linesOf = (text: string) => text.split('\n').filter(Boolean)

function isJobDone(line: string): boolean {
  const [, done, wanted] = /\((\d+)\/(\d+) completed\)/.exec(line) ?? []
  return done !== undefined && done === wanted
}

/** Those that should run. One that goes while it is asked for is no longer one of them. */
async function tasksOf(stack: string): Promise<readonly Task[]> {
  const gone = (error: Error) => {
    if (/no such|nothing found/i.test(error.message)) return ''
    throw error
  }
  const ids = linesOf(await docker(['stack', 'ps', '--quiet', '--no-trunc', '--filter', 'desired-state=running', stack]).catch(gone))
  if (ids.length === 0) return []
  return JSON.parse((await docker(['inspect', '--type=task', ...ids]).catch(gone)) || '[]') as Task[]
}

async function until(withinMs: number, signal: AbortSignal | undefined, behind: () => Promise<readonly string[]>): Promise<void> {
  const giveUpAt = performance.now() + withinMs
  for (;;) {
    const left = await behind()
    if (left.length === 0) return
    if (performance.now() > giveUpAt) throw new Error(`not there within ${withinMs / 1000} s: ${left.join(', ')}`)
    // An abort says why by its reason.
    await pause(500, undefined, { signal }).catch(() => signal?.throwIfAborted())
  }
}
