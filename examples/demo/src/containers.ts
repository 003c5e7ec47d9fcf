import { setTimeout as pause } from 'node:timers/promises'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import type { Containers } from './store.ts'

const healthyWithinMs = 60_000

/** Those of a project, to be killed and brought back one by one. `fail` makes the error of one that is not healthy again. */
export function containersOf(
  project: ComposeProject,
  names: readonly string[],
  fail: (what: string) => Error = (what) => new Error(what),
): Containers {
  const idOf = async (name: string) => (await compose(project, 'ps', '--all', '--quiet', name)).trim()
  return {
    names,
    exec: (name, ...command) => compose(project, 'exec', '-T', name, ...command),
    kill: async (name) => void (await docker(['kill', await idOf(name)])),
    async start(name) {
      const id = await idOf(name)
      await docker(['start', id])
      const giveUpAt = performance.now() + healthyWithinMs
      while ((await docker(['inspect', '--format', '{{.State.Health.Status}}', id])).trim() !== 'healthy') {
        if (performance.now() > giveUpAt) throw fail(`${name} is not healthy after ${healthyWithinMs / 1000} s`)
        await pause(200)
      }
    },
  }
}
