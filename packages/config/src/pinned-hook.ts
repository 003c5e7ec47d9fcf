import type { Config } from './config.ts'

/** Runs a request inside a context; the shape that `service/http` takes. */
export type InboundHook = <T>(
  request: { method: string; url: string; headers: Record<string, string | string[] | undefined> },
  run: () => T,
) => T

/** One request sees one snapshot, however long it takes. */
export function pinnedHook(config: Pick<Config<unknown>, 'pinned'>): InboundHook {
  return (_request, run) => config.pinned(run)
}
