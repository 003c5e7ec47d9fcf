import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../../packages/stack/src/index.ts'
import type { LocalRegistry } from '../local-registry.ts'
import { root } from '../pinned-node.ts'
import type { Addresses } from './check.ts'
import { execute } from './checks.ts'
import { workspaceVersions } from './project.ts'

const readyWithinMs = 60_000
const stopsWithinMs = 60_000

/** The program of the root README as a project of its own: installed by npm, run, given an order, stopped by SIGTERM. */
export async function runFirstService({ url, packages }: LocalRegistry, { DATABASE_URL, AMQP_URL }: Addresses): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-first-service-'))
  try {
    cpSync(join(root, 'examples/first-service'), folder, { recursive: true, filter: (file) => !file.includes('node_modules') })
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
    for (const name of Object.keys(manifest.dependencies)) {
      manifest.dependencies[name] = packages.find((published) => published.name === name)?.version ?? workspaceVersions[name]!
    }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
    writeFileSync(join(folder, '.npmrc'), `@platform:registry=${url}\n`)
    await execute('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder })

    const port = await freePort()
    const { PATH } = process.env
    const env = { PATH, ORDERS_PORT: String(port), ORDERS_DB_URL: DATABASE_URL, ORDERS_BROKER_URL: AMQP_URL }
    const service = spawn(process.execPath, ['src/main.ts'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let log = ''
    for (const stream of [service.stdout, service.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (log += text))
    const exit = once(service, 'exit') as Promise<[number | null]>
    try {
      await orderAndLook(`http://127.0.0.1:${port}`)
      service.kill('SIGTERM')
      const timer = setTimeout(() => service.kill('SIGKILL'), stopsWithinMs)
      const [code] = await exit
      clearTimeout(timer)
      if (code !== 0) throw new Error(`it ended with ${code}`)
      if (log.includes(new URL(DATABASE_URL).password)) throw new Error('its log holds the password of the database')
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${log}`, { cause: error })
    } finally {
      service.kill('SIGKILL')
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function orderAndLook(url: string): Promise<void> {
  const film = `Metropolis ${process.pid} ${Date.now()}`
  const deadline = performance.now() + readyWithinMs
  const until = async (what: string, seen: () => Promise<boolean>) => {
    while (!(await seen().catch(() => false))) {
      if (performance.now() > deadline) throw new Error(`${what}: not within ${readyWithinMs} ms`)
      await pause(100)
    }
  }
  await until('an order is taken', async () => (await fetch(url, { method: 'POST', body: JSON.stringify({ film }) })).ok)
  await until('it is shipped', async () => {
    const { shipped } = (await (await fetch(`${url}/${encodeURIComponent(film)}`)).json()) as { shipped: number }
    return shipped === 1
  })
}
