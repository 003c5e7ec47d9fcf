import { spawnSync } from 'node:child_process'
import { docker } from '../../packages/stack/src/compose.ts'

export interface Variation extends AsyncDisposable {
  readonly name: string
}

/** The service's own image with one line more, so that everything else is the same; gone when it is disposed of. */
export function imageWith(service: string, line: string): Variation {
  const name = `film-store/${service}:variation-${process.pid}`
  const input = `FROM film-store/${service}\n${line}\n`
  const { status, stderr } = spawnSync('docker', ['build', '--quiet', '--tag', name, '-'], { input, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${name} was not built: ${stderr}`)
  return { name, [Symbol.asyncDispose]: async () => void (await docker(['rmi', '--force', name])) }
}
