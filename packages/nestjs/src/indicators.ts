/** The result of a health indicator of `@nestjs/terminus`, by shape. */
export type IndicatorResult = Readonly<Record<string, { readonly status: string; readonly [detail: string]: unknown }>>

/**
 * An indicator of terminus as a check of `@platform/health`, so that it runs in the background, bounded, and not once for each probe:
 * `createHealth({ checks: { db: { kind: 'shared', run: indicatorCheck(() => orm.pingCheck('db')) } } })`.
 */
export function indicatorCheck(indicator: () => IndicatorResult | Promise<IndicatorResult>): () => Promise<void> {
  return async () => {
    const down = Object.entries(await indicator()).find(([, { status }]) => status !== 'up')
    if (down) throw new Error(`the indicator says ${down[0]} is ${down[1].status}`)
  }
}

/** A component, or the health object, as an indicator for terminus: `health.check([componentIndicator('broker', broker)])`. Shows no cause. */
export function componentIndicator(
  name: string,
  component: { check?(): Promise<void | { status: 'warn'; message: string }> },
): () => Promise<IndicatorResult> {
  return async () => {
    try {
      const warning = await component.check?.()
      return { [name]: warning ? { status: 'up', message: 'usable, not well' } : { status: 'up' } }
    } catch {
      return { [name]: { status: 'down' } }
    }
  }
}
