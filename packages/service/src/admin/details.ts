import { guarded } from '@platform/kernel'
import { wiringOf } from '../component.ts'
import type { Node } from '../graph.ts'
import type { ResolvedServiceOptions } from '../options.ts'
import { asJson } from './reply.ts'

/** What an operator wants to know at three in the morning, as one document. Nothing here is a secret, much of it is nobody's business. */
export function statusOf({ name, version, health, levels }: ResolvedServiceOptions): object {
  const readiness = health.readiness()
  return {
    service: name,
    version,
    state: readiness.state,
    readiness: readiness.status,
    checks: readiness.checks,
    components: Object.fromEntries(levels.flat().map((node) => [node.name, componentOf(node)])),
  }
}

function componentOf({ component }: Node): object {
  const { needs, check } = wiringOf(component)
  const stats = guarded(() => (component as { stats?: () => unknown }).stats?.())
  // A promise is no figure; nobody waits for it here.
  return { needs, check, stats: stats instanceof Promise ? undefined : asJson(stats) }
}

/** What is used of `@platform/config`, by shape. */
interface Explaining {
  readonly current: unknown
  readonly revision: number
  readonly pendingRestart: readonly string[]
  explain(path: string): { location: string; value: unknown }
}

/** Every setting with its value and who gave it; secrets are masked by `explain`. */
export function settingsOf(levels: ResolvedServiceOptions['levels']): object | undefined {
  const config = levels.flat().find(({ component }) => typeof (component as Partial<Explaining>).explain === 'function')
  if (!config) return undefined
  const { current, revision, pendingRestart, explain } = config.component as unknown as Explaining
  const settings = pathsOf(current).map((path) => {
    const found = guarded(() => explain(path))
    return [path, found && { value: asJson(found.value), from: found.location }] as const
  })
  return { revision, pendingRestart, settings: Object.fromEntries(settings) }
}

function pathsOf(value: unknown, around: readonly string[] = []): string[] {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  // A secret has no members to look into.
  const inner = isObject ? Object.entries(value) : []
  if (inner.length === 0) return around.length === 0 ? [] : [around.join('.')]
  return inner.flatMap(([key, child]) => pathsOf(child, [...around, key]))
}
