import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '../pinned-node.ts'
import { run } from '../step.ts'
import { check, leavesNothing } from './check.ts'

interface Told {
  readonly books: readonly { readonly name: string; readonly holds: boolean; readonly detail: string }[]
}

/** A command of `infra` that hurts a store of its own and compares books: each of them is a check. */
export async function rehearsalChecks(command: 'drill' | 'failover' | 'rehearse-tls', prefix: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'film-store-rehearsal-'))
  const file = join(folder, 'told.json')
  try {
    await check(`${command} runs to its end`, async () => {
      const code = await run(process.execPath, [join(root, 'scripts/infra.ts'), command, '--no-build', '--json', file])
      if (code !== 0) throw new Error(`exit code ${code}`)
      return 'exit code 0'
    })
    await check(`${command} leaves nothing behind`, () => leavesNothing(prefix))
    for (const { name, holds, detail } of booksIn(file))
      await check(`${command}: ${name}`, () => {
        if (!holds) throw new Error(detail)
        return detail
      })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** None, when it ended before there were any. */
function booksIn(file: string): Told['books'] {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as Told).books
  } catch {
    return []
  }
}
