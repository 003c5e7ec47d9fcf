import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { dockerFolder } from './project.ts'

export function secretsFolder(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(dockerFolder, env['FILM_STORE_SECRETS'] ?? '.secrets')
}

/** Letters and digits only: they stand unescaped in URLs and configuration files. */
const draw = () => randomBytes(24).toString('hex')

/**
 * Draws every password once; returns true when it did. The containers' users differ from the owner of the files,
 * so the files are readable and it is the folder that keeps other users of this machine out.
 */
export function writeSecrets(folder: string): boolean {
  if (existsSync(join(folder, 'complete'))) return false
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  chmodSync(folder, 0o700)
  const databases = ['catalog', 'orders', 'fulfilment'].flatMap((name) => {
    const password = draw()
    return [
      [`${name}_db_password`, password],
      [`${name}_db_url`, `postgres://${name}:${password}@postgres:5432/${name}`],
    ] as const
  })
  const [queue, redis] = [draw(), draw()]
  const files = [
    ['postgres_password', draw()],
    ...databases,
    ['rabbitmq_auth', `default_user = film-store\ndefault_pass = ${queue}\n`],
    ['queue_url', `amqp://film-store:${queue}@rabbitmq:5672`],
    ['redis_auth', `requirepass ${redis}\n`],
    ['redis_password', redis],
    ['redis_url', `redis://:${redis}@redis:6379`],
    ['complete', ''],
  ] as const
  for (const [name, text] of files) {
    writeFileSync(join(folder, name), text, { mode: 0o444 })
  }
  return true
}

export function removeSecrets(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}
