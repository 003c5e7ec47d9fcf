import { randomBytes } from 'node:crypto'
import { ConfigError } from '../errors.ts'
import type { HttpAnswer } from '../http-request.ts'
import type { Cancellable } from './contract.ts'

type Api = (method: 'GET' | 'PUT' | 'DELETE', path: string, options: Cancellable, json?: unknown) => Promise<HttpAnswer>

/** Longer than a rotation can last; whoever holds the lock longer has died. */
const expiryMs = 300_000

/**
 * A lock in a broker that has none: a user who cannot log in. To create it is the one act of the management API that says whether somebody was
 * faster (201 created, 204 was there), and everyone who may rotate may do it.
 */
export function userLock(name: string, api: Api, taken: () => Error): { take(): Promise<void>; release(): Promise<void> } {
  const path = `users/${encodeURIComponent(name)}`
  const mine = `${process.pid}-${randomBytes(6).toString('hex')}`
  const refused = (status: number): Error =>
    new ConfigError('ERR_CONFIG_SOURCE', `RabbitMQ's management answered ${status} to the lock`, { status })

  const holder = async (): Promise<{ owner: string; until: number } | undefined> => {
    const { status, body } = await api('GET', path, {})
    if (status === 404) return undefined
    if (status !== 200) throw refused(status)
    // Older brokers give the tags as one text.
    const [owner = '', until = '0'] = [(JSON.parse(body) as { tags: string | string[] }).tags].flat().join(',').split(',')
    return { owner, until: Number(until) }
  }

  return {
    async take() {
      const found = await holder()
      if (found) {
        if (found.until > Date.now()) throw taken()
        // Of several who find a dead one's lock, one deletes it.
        const { status } = await api('DELETE', path, {})
        if (status === 404) throw taken()
        if (status >= 300) throw refused(status)
      }
      const { status } = await api('PUT', path, {}, { password_hash: '', tags: `${mine},${Date.now() + expiryMs}` })
      if (status >= 300) throw refused(status)
      if (status !== 201) throw taken()
    },
    async release() {
      // A lock that outlives its holder expires: what a failure here costs is a wait.
      await api('DELETE', path, {}).catch(() => {})
    },
  }
}
