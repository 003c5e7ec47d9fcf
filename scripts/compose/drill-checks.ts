import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { docker } from '../../packages/stack/src/compose.ts'
import { root } from '../pinned-node.ts'
import { run } from '../step.ts'

interface DrillResult {
  readonly books: readonly { readonly name: string; readonly holds: boolean; readonly detail: string }[]
}

export interface Drilled {
  /** For what it leaves to be read. */
  readonly folder: string
  /** Prints and counts; `work` answers with what it found and fails by throwing. */
  readonly check: (what: string, work: () => Promise<string> | string) => Promise<boolean>
}

/** The disaster drill: each of its books is a check. */
export async function drillChecks({ folder, check }: Drilled): Promise<void> {
  const file = join(folder, 'drill.json')
  await check('the disaster drill runs to its end', async () => {
    const code = await run(process.execPath, [join(root, 'scripts/infra.ts'), 'drill', '--no-build', '--json', file])
    if (code !== 0) throw new Error(`exit code ${code}`)
    return 'exit code 0'
  })
  await check('the drill leaves nothing behind', async () => {
    const names = ['--filter', 'name=^/?film-store-drill-', '--format']
    const [containers, volumes, networks] = await Promise.all([
      docker(['ps', '--all', ...names, '{{.Names}}']),
      docker(['volume', 'ls', ...names, '{{.Name}}']),
      docker(['network', 'ls', ...names, '{{.Name}}']),
    ])
    const left = `${containers}${volumes}${networks}`.split('\n').filter(Boolean)
    if (left.length > 0) throw new Error(left.join(', '))
    return 'no container, volume or network'
  })
  let told: DrillResult
  try {
    told = JSON.parse(readFileSync(file, 'utf8')) as DrillResult
  } catch {
    return
  }
  for (const { name, holds, detail } of told.books)
    await check(`after the disaster: ${name}`, () => {
      if (!holds) throw new Error(detail)
      return detail
    })
}
