import { guarded } from '@platform/kernel'
import type { Tell } from './events.ts'
import type { Node } from './graph.ts'
import type { LoggerLike } from './logger-like.ts'

/** What is used of `@platform/config`, by shape. */
interface Reloadable {
  reload?(): Promise<unknown>
  onReload?(listener: (event: { outcome?: unknown; revision?: unknown; changed?: unknown; error?: unknown }) => void): () => void
}

export function reloadAll(nodes: readonly Node[], logger: LoggerLike): void {
  const able = nodes.filter(({ component }) => typeof (component as Reloadable).reload === 'function')
  logger.info({ components: able.map(({ name }) => name) }, able.length > 0 ? 'signal: reloading' : 'signal: nothing to reload')
  for (const { name, component } of able) {
    void guarded(
      () => (component as Reloadable).reload?.(),
      (error) => logger.warn({ component: name, err: error }, 'reload failed'),
    )
  }
}

/** Settings that changed, or were refused, are events of the service. Returns the way to end it. */
export function followReloads(nodes: readonly Node[], tell: Tell): () => void {
  const ends = nodes.flatMap(({ name, component }) => {
    const end = guarded(() =>
      (component as Reloadable).onReload?.(({ outcome, revision, changed, error }) => {
        if (outcome === 'applied') tell({ type: 'reloaded', component: name, revision, changed })
        else tell({ type: 'reload-refused', component: name, outcome, error })
      }),
    )
    return typeof end === 'function' ? [end] : []
  })
  return () => ends.forEach((end) => guarded(end))
}
