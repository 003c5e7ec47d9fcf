/** The gateway as a program of its own, which can be killed and started again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '@platform/stack'
import { nginxPrograms } from './gateway-run.fixture.ts'

const cli = fileURLToPath(new URL('./cli.ts', import.meta.url))

export interface GatewayProgram extends AsyncDisposable {
  readonly url: string
  readonly folder: string
  /** What it wrote, in all its runs. */
  readonly said: string
  start(): void
  /** Resolves when it has ended and all that it wrote was read, with its exit code. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>
}

/** `{{listen}}` in the text is the port; more arguments say where instances come from. */
export async function gatewayProgram(text: string, ...more: readonly string[]): Promise<GatewayProgram> {
  const place = mkdtempSync(join(tmpdir(), 'platform-gateway-'))
  chmodSync(place, 0o755)
  const [file, folder, port] = [join(place, 'gateway.yaml'), join(place, 'run'), await freePort()]
  writeFileSync(file, text.replaceAll('{{listen}}', `{ port: ${port}, address: 127.0.0.1 }`))
  const args = ['--conditions=@platform/source', cli, 'run', file, '--folder', folder, '--nginx', nginxPrograms.newest, ...more]
  let child: { process: ChildProcess; closed: Promise<unknown[]> } | undefined
  let said = ''
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> => {
    const ending = child
    child = undefined
    if (ending === undefined) return null
    ending.process.kill(signal)
    return ((await ending.closed) as [number | null])[0]
  }
  return {
    url: `http://127.0.0.1:${port}`,
    folder,
    get said() {
      return said
    },
    start() {
      const started = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] })
      started.stdout.on('data', (piece: Buffer) => (said += piece.toString()))
      child = { process: started, closed: once(started, 'close') }
    },
    end,
    async [Symbol.asyncDispose]() {
      await end('SIGTERM')
      rmSync(place, { recursive: true, force: true })
    },
  }
}
