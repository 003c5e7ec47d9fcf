import { spawn } from 'node:child_process'
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

it('is let go of by whoever is killed', async () => {
  const module = new URL('one-at-a-time.ts', import.meta.url).href
  const script = `const { holdStore } = await import('${module}'); await holdStore('${name}', 'infra up'); console.log('held'); setInterval(() => {}, 1e6)`
  const holder = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  await expect(holdStore(name, 'infra down')).rejects.toThrow(`infra up (process ${holder.pid})`)
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  await using _mine = await holdStore(name, 'infra down')
})
