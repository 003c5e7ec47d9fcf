import { type Check, createHealth, type Health } from '@platform/health'
import { type Component, wiringOf } from './component.ts'
import type { LoggerLike } from './logger-like.ts'
import { refuse } from './options.ts'

/** The health that the service drives: the given one, or one made of the components that ask to be checked. */
export function healthOf(components: Readonly<Record<string, Component>>, given: Health | undefined, logger: LoggerLike): Health {
  const checks = Object.entries(components).flatMap(([name, component]): [string, Check][] => {
    const { check } = wiringOf(component)
    if (check === undefined) return []
    if (given)
      throw refuse('health', `cannot stand beside component(${name}, { check }): give the checks to createHealth, or leave health out`)
    if (typeof component.check !== 'function') {
      throw refuse(`components.${name}`, 'must have a check(), because component(…, { check }) asks for it')
    }
    const run: Check['run'] = async (options) => component.check?.(options)
    return [[name, { ...(typeof check === 'string' ? { kind: check } : check), run }]]
  })
  return given ?? createHealth({ checks: Object.fromEntries(checks), logger })
}
