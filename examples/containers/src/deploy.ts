import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import { deployLine } from './deploy-event.ts'
import { type ComposeConfig, stackOf, type StackOptions } from './stack.ts'

export interface Deployment extends Omit<StackOptions, 'part'> {
  readonly project: ComposeProject
  /** Name of the stack. */
  readonly stack: string
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
  await apply(stack, stackOf(config, { ...options, part: 'foundations' }))
  await until(foundationsWithinMs, 'servers and migrations are not there', signal, async () => (await unready(stack)).length === 0)
  onProgress(`servers and migrations ${since()}`)
  await apply(stack, stackOf(config, { ...options, part: 'services' }))
  await until(updatedWithinMs, 'the services are not there', signal, async () => {
    const states = await updateStates(stack)
    const refused = states.filter(({ state }) => /rollback_completed|rollback_paused|paused/.test(state))
    if (refused.length > 0) throw new DeployRefused(refused.map(({ name, state, message }) => `${name} ${state}: ${message}`).join('; '))
    return states.every(({ state }) => state === '' || state === 'completed') && (await unready(stack)).length === 0
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

/** Services that have fewer instances than they should, and jobs that are not done. */
async function unready(stack: string): Promise<string[]> {
  const lines = (await docker(['stack', 'services', '--format', '{{.Name}} {{.Replicas}}', stack])).trim().split('\n')
  return lines.filter((line) => {
    const job = /\((\d+)\/(\d+) completed\)/.exec(line)
    const [, running, wanted] = job ?? / (\d+)\/(\d+)/.exec(line) ?? []
    return running === undefined || running !== wanted
  })
}

async function updateStates(stack: string): Promise<{ name: string; state: string; message: string }[]> {
  const ids = (await docker(['stack', 'services', '--quiet', stack])).trim().split('\n')
  const format = '{{.Spec.Name}}\t{{if .UpdateStatus}}{{.UpdateStatus.State}}\t{{.UpdateStatus.Message}}{{else}}\t{{end}}'
  const lines = (await docker(['service', 'inspect', '--format', format, ...ids])).trim().split('\n')
  return lines.map((line) => {
    const [name = '', state = '', message = ''] = line.split('\t')
    return { name, state, message }
  })
}

async function until(withinMs: number, what: string, signal: AbortSignal | undefined, isSo: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + withinMs
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) throw new Error(`${what} within ${withinMs / 1000} s`)
    await pause(500, undefined, { signal })
  }
}
