import { type Component, wiringOf } from './component.ts'
import { ServiceError } from './errors.ts'

export interface Node {
  readonly name: string
  readonly component: Component
}

/** Levels in starting order: every component's needs lie in earlier levels. */
export function levelsOf(components: Readonly<Record<string, Component>>): readonly (readonly Node[])[] {
  const names = Object.keys(components)
  const needs = new Map(names.map((name) => [name, wiringOf(components[name] as Component).needs]))
  for (const [name, wanted] of needs) {
    const missing = wanted.find((need) => !needs.has(need))
    if (missing !== undefined) {
      throw new ServiceError(
        'ERR_SERVICE_MISSING_NEED',
        `component "${name}" needs "${missing}", which does not exist (components: ${names.join(', ')})`,
        { component: name },
      )
    }
  }
  const levels: Node[][] = []
  const placed = new Set<string>()
  while (placed.size < names.length) {
    const level = names.filter((name) => !placed.has(name) && needs.get(name)?.every((need) => placed.has(need)))
    if (level.length === 0) throw cycle(names, needs, placed)
    for (const name of level) placed.add(name)
    levels.push(level.map((name) => ({ name, component: components[name] as Component })))
  }
  return levels
}

function cycle(names: readonly string[], needs: ReadonlyMap<string, readonly string[]>, placed: ReadonlySet<string>): ServiceError {
  const path: string[] = []
  let name = names.find((one) => !placed.has(one)) as string
  while (!path.includes(name)) {
    path.push(name)
    name = needs.get(name)?.find((need) => !placed.has(need)) as string
  }
  const circle = [...path.slice(path.indexOf(name)), name]
  return new ServiceError('ERR_SERVICE_CYCLE', `components need each other in a circle: ${circle.join(' → ')}`, { component: name })
}
