import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { holdStore } from './one-at-a-time.ts'

const name = `film-store-test-${process.pid}`

it('lets one command at a time change a store, and says which one does', async () => {
  {
    await using _first = await holdStore(name, 'infra rollout')
    await expect(holdStore(name, 'infra up')).rejects.toThrow(`infra rollout (process ${process.pid}) is at work on ${name}`)
    await using _other = await holdStore(`${name}-other`, 'infra up')
  }
  await using _second = await holdStore(name, 'infra up')
})

/** Another process that holds it. */
async function holder(): Promise<ChildProcess> {
  const module = new URL('one-at-a-time.ts', import.meta.url).href
  const script = `const { holdStore } = await import('${module}'); await holdStore('${name}', 'infra up'); console.log('held'); setInterval(() => {}, 1e6)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}

it('is let go of by whoever is killed', async () => {
  const other = await holder()
  await expect(holdStore(name, 'infra down')).rejects.toThrow(`infra up (process ${other.pid})`)
  other.kill('SIGKILL')
  await once(other, 'exit')
  await using _mine = await holdStore(name, 'infra down')
})

it('refuses beside one that was stopped, too', async () => {
  const other = await holder()
  other.kill('SIGSTOP')
  await expect(holdStore(name, 'infra down')).rejects.toThrow(`another command is at work on ${name}`)
  other.kill('SIGKILL')
  await once(other, 'exit')
})
