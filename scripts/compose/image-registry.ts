import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../../packages/stack/src/index.ts'
import { registryProgram } from './deploy-needs.ts'

/** A registry of images on 127.0.0.1, which an engine trusts without TLS. It lets in one user. */
export interface ImageRegistry extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly address: string
  readonly user: string
  readonly password: string
}

const startsWithinMs = 15_000
const user = 'somebody'
const password = 'only-for-this-run'
/** Of that password; Node has no bcrypt to make another. */
const hash = '$2y$05$film.store.deploy.pieO7QsOiNgf71F/qBmrwl8bSb5X0TzW8pa'

export async function startImageRegistry(folder: string): Promise<ImageRegistry> {
  const address = `127.0.0.1:${await freePort()}`
  const [config, users] = [join(folder, 'registry.yml'), join(folder, 'registry-users')]
  writeFileSync(users, `${user}:${hash}\n`)
  writeFileSync(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(folder, 'images') } },
      http: { addr: address },
      auth: { htpasswd: { realm: 'images', path: users } },
    }),
  )
  const server = spawn(registryProgram()!, ['serve', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  server.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-2_000)))
  const over = once(server, 'exit')
  const stop = async () => {
    server.kill()
    await over
  }
  const giveUpAt = performance.now() + startsWithinMs
  // Nobody is told anything without a name.
  while ((await fetch(`http://${address}/v2/`).catch(() => undefined))?.status !== 401) {
    if (server.exitCode === null && performance.now() < giveUpAt) {
      await pause(100)
      continue
    }
    await stop()
    throw new Error(`the registry does not answer: ${said.trim()}`)
  }
  return { address, user, password, [Symbol.asyncDispose]: stop }
}
