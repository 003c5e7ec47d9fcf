import { called, type Services, type ServiceSpec } from '../services.ts'
import type { Change } from './watch-sources.ts'

export interface Restarts {
  /** Starts again what the change concerns; what is being started for an earlier one starts once more. */
  take(change: Change): void
  /** Tells, from now on, of instances that end by themselves. */
  attend(): void
  close(): void
}

/** Every service restarts by itself: all its instances at once, and again for as long as something was saved meanwhile. */
export function createRestarts(
  { services, specs }: { services: Pick<Services, 'restart' | 'ended' | 'migrate'>; specs: readonly ServiceSpec[] },
  say: (line: string) => void,
): Restarts {
  const waiting = new Map<string, { migrate: boolean }>()
  const working = new Map<string, AbortController>()
  let closed = false

  const watchOver = async (spec: ServiceSpec) => {
    const exit = await services.ended(spec)
    if (closed || working.has(spec.name)) return
    say(`${called(spec)} has ended by itself (${exit?.signal ?? `code ${exit?.code}`}); the next save starts it again`)
  }

  const attempt = async (name: string, migrate: boolean, signal: AbortSignal) => {
    const startedAt = performance.now()
    const instances = specs.filter((spec) => spec.name === name)
    try {
      if (migrate) await services.migrate(instances[0]!)
      const outcomes = await Promise.allSettled(instances.map((spec) => services.restart(spec, signal)))
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      say(`${instances.map(called).join(' and ')} restarted in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`)
    } catch (error) {
      if (signal.aborted) return
      say(`${(error as Error).message}; its own lines say why, and the next save starts it again`)
    }
  }

  const work = async (name: string) => {
    for (let wanted = waiting.get(name); wanted && !closed; wanted = waiting.get(name)) {
      waiting.delete(name)
      const stop = new AbortController()
      working.set(name, stop)
      await attempt(name, wanted.migrate, stop.signal)
    }
    working.delete(name)
    for (const spec of specs.filter((each) => each.name === name)) void watchOver(spec)
  }

  return {
    take({ files, services: concerned, migrations }) {
      const shown = files.length > 3 ? `${files.slice(0, 3).join(', ')} and ${files.length - 3} more` : files.join(', ')
      say(`saved ${shown}: ${[...concerned].join(', ')}`)
      for (const name of concerned) {
        waiting.set(name, { migrate: migrations.has(name) || waiting.get(name)?.migrate === true })
        const under = working.get(name)
        if (under) under.abort()
        else void work(name)
      }
    },
    attend() {
      for (const spec of specs) void watchOver(spec)
    },
    close() {
      closed = true
      for (const stop of working.values()) stop.abort()
    },
  }
}
