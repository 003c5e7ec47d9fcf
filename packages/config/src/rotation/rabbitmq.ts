import { createHash, randomBytes } from 'node:crypto'
import { ConfigError } from '../errors.ts'
import { ask, below, type HttpAnswer } from '../http-request.ts'
import { assertCredential, type Credential, revealCredential } from '../options.ts'
import type { Cancellable, CredentialTarget } from './contract.ts'
import { alreadyRotating } from './rotation.ts'
import { urlOf } from './url-of.ts'
import { userLock } from './user-lock.ts'

export interface RabbitmqUsersOptions {
  /** `http://admin:password@host:15672`: the management API, by a user who may administer. */
  managementUrl: Credential
  /** `amqp://host:5672/vhost`: where the two will connect; name and password in it do not count. */
  url: string
  users: readonly [string, string]
  /** Default everything in the virtual host. */
  permissions?: { configure: string; write: string; read: string } | undefined
}

const everything = { configure: '.*', write: '.*', read: '.*' }

/** Two users of a RabbitMQ broker. Needs `amqplib` for the proof. The broker is given a salted hash, not the password. */
export function rabbitmqUsers(options: RabbitmqUsersOptions): CredentialTarget {
  const { managementUrl, url, users, permissions = everything } = options
  assertCredential('managementUrl', managementUrl)
  const vhost = decodeURIComponent(urlOf('url', url, ['amqp:', 'amqps:']).pathname.slice(1)) || '/'

  const api = async (method: 'GET' | 'PUT' | 'DELETE', path: string, { signal }: Cancellable, json?: unknown): Promise<HttpAnswer> => {
    const admin = urlOf('managementUrl', await revealCredential(managementUrl), ['http:', 'https:'])
    const authorization = `Basic ${Buffer.from(`${decodeURIComponent(admin.username)}:${decodeURIComponent(admin.password)}`).toString('base64')}`
    const target = below(admin.origin, `${admin.pathname.replace(/\/$/, '')}/api/${path}`)
    return ask({ method, url: target, headers: { authorization }, json, signal, timeoutMs: 10_000, maxBytes: 2 ** 20 })
  }
  const put = async (path: string, json: unknown, cancellable: Cancellable): Promise<void> => {
    const { status } = await api('PUT', path, cancellable, json)
    if (status >= 300) throw new ConfigError('ERR_CONFIG_SOURCE', `RabbitMQ's management answered ${status}`, { status })
  }

  const lock = userLock(`platform-config rotation ${users.toSorted().join(' ')}`, api, () => alreadyRotating(users))

  return {
    name: 'RabbitMQ',
    users,
    async setPassword({ username, password }, cancellable) {
      const name = encodeURIComponent(username)
      const found = await api('GET', `users/${name}`, cancellable)
      if (found.status !== 200 && found.status !== 404)
        throw new ConfigError('ERR_CONFIG_SOURCE', `RabbitMQ's management answered ${found.status}`, { status: found.status })
      // Older brokers give the tags as one text.
      const tags = found.status === 200 ? (JSON.parse(found.body) as { tags: string | string[] }).tags : ''
      const user = {
        password_hash: passwordHash(password),
        hashing_algorithm: 'rabbit_password_hashing_sha256',
        tags: [tags].flat().join(','),
      }
      await put(`users/${name}`, user, cancellable)
      await put(`permissions/${encodeURIComponent(vhost)}/${name}`, permissions, cancellable)
    },
    async prove({ username, password }) {
      const { connect } = await import('amqplib')
      const target = new URL(url)
      target.username = encodeURIComponent(username)
      target.password = encodeURIComponent(password)
      const connection = await connect(target.href, { timeout: 10_000 })
      connection.on('error', () => {})
      await connection.close()
    },
    async exclusively(run) {
      await lock.take()
      try {
        return await run()
      } finally {
        await lock.release()
      }
    },
  }
}

function passwordHash(password: string): string {
  const salt = randomBytes(4)
  return Buffer.concat([salt, createHash('sha256').update(salt).update(password).digest()]).toString('base64')
}
