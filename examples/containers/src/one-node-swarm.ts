import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '@platform/stack'
import { docker } from '@platform/stack/compose'

/** A swarm of this machine alone, which must not be in one yet and is in none when it is disposed of. It may hold the data. */
export async function oneNodeSwarm(): Promise<AsyncDisposable> {
  await docker(['swarm', 'init', '--advertise-addr=127.0.0.1', `--listen-addr=127.0.0.1:${await freePort()}`])
  const leave = async () => void (await docker(['swarm', 'leave', '--force']))
  try {
    const node = (await docker(['info', '--format', '{{.Swarm.NodeID}}'])).trim()
    await docker(['node', 'update', '--label-add=film-store=data', '--label-add=zone=a', node])
  } catch (error) {
    await leave()
    throw error
  }
  return { [Symbol.asyncDispose]: leave }
}

/** With what it had kept; a volume is free when the last task of it is gone. */
export async function removeStack(stack: string): Promise<void> {
  await docker(['stack', 'rm', stack])
  const ofStack = `label=com.docker.stack.namespace=${stack}`
  const giveUpAt = performance.now() + 90_000
  for (;;) {
    const left = await docker(['ps', '--all', '--quiet', '--filter', ofStack])
    if (left.trim() === '' || performance.now() > giveUpAt) break
    await pause(500)
  }
  const volumes = (await docker(['volume', 'ls', '--quiet', '--filter', ofStack])).split('\n').filter(Boolean)
  if (volumes.length > 0) await docker(['volume', 'rm', ...volumes])
}
