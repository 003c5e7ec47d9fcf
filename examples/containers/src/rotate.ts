import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compose, type ComposeProject } from '@platform/stack/compose'
import { rollout } from './rollout.ts'
import { rabbitmqDefinitions } from './secrets.ts'

export interface Rotating {
  readonly project: ComposeProject
  /** Folder of the passwords. */
  readonly secrets: string
  /** Ends it after what is half done; the next run begins anew. */
  readonly signal?: AbortSignal | undefined
  readonly onProgress: (line: string) => void
}

interface Credential {
  readonly username: string
  readonly password: string
}

const services = { catalog: 'catalog-api', orders: 'orders-api', fulfilment: 'fulfilment-worker' } as const

/**
 * Every service gets its other user, with a new password, in PostgreSQL and in RabbitMQ, and is replaced instance by instance, so that nobody waits. The user
 * of before stays valid until the next rotation: whoever holds it still goes on. What failed leaves the service as it was.
 */
export async function rotateCredentials({ project, secrets, signal, onProgress }: Rotating): Promise<void> {
  for (const [name, service] of Object.entries(services)) {
    signal?.throwIfAborted()
    const { db, queue } = JSON.parse(await compose(project, '--progress=quiet', 'run', '--rm', '--no-deps', 'rotate', name)) as {
      db: Credential
      queue: Credential
    }
    for (const file of ['db_url', 'db_urls', 'db_url_tls']) rewrite(join(secrets, `${name}_${file}`), (url) => withCredential(url, db))
    for (const file of ['queue_url', 'queue_url_tls']) rewrite(join(secrets, `${name}_${file}`), (url) => withCredential(url, queue))
    // A broker with an empty volume begins with those that are in use.
    rewrite(join(secrets, 'rabbitmq_definitions'), () => rabbitmqDefinitions(queueUsers(secrets)))
    onProgress(`${name}: ${db.username} in PostgreSQL and ${queue.username} in RabbitMQ are proven`)
    await rollout({ project, service, signal, onProgress })
  }
}

/** All in one: text of a URL with several hosts is no URL to Node. */
function withCredential(url: string, { username, password }: Credential): string {
  return url.replace(/\/\/[^@]+@/, () => `//${username}:${password}@`)
}

function queueUsers(secrets: string): ReadonlyMap<string, string> {
  const read = (name: string) => readFileSync(join(secrets, name), 'utf8').trim()
  const urls = Object.keys(services).map((name) => new URL(read(`${name}_queue_url`)))
  return new Map([...urls.map(({ username, password }) => [username, password] as const), ['backup', read('backup_queue_password')]])
}

/** As a whole: containers that are made from now on see the new file, those that run keep the one of before. */
function rewrite(file: string, change: (text: string) => string): void {
  const text = change(readFileSync(file, 'utf8'))
  writeFileSync(`${file}.new`, text, { mode: 0o444 })
  chmodSync(`${file}.new`, 0o444)
  renameSync(`${file}.new`, file)
}
