import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { dockerFolder, projectName } from './project.ts'

/** Each store has one of its own, so that none takes another's passwords with it. */
export function secretsFolder(env: NodeJS.ProcessEnv = process.env): string {
  const name = projectName(env)
  return resolve(dockerFolder, env['FILM_STORE_SECRETS'] || (name === 'film-store' ? '.secrets' : `.secrets-${name}`))
}

/** Letters and digits only: they stand unescaped in URLs and configuration files. */
const draw = () => randomBytes(24).toString('hex')

const services = ['catalog', 'orders', 'fulfilment']

/** As RabbitMQ keeps a password: a salt of four bytes before the hash of salt and password. */
function rabbitmqHash(password: string): string {
  const salt = randomBytes(4)
  const hash = createHash('sha256').update(salt).update(password).digest()
  return Buffer.concat([salt, hash]).toString('base64')
}

/** What was drawn before, for a newer file that repeats it. */
function kept(folder: string, name: string): string | undefined {
  const file = join(folder, name)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

/** `user:password` of a URL, which rotations change. */
export function credentialOf(url: string | undefined): string | undefined {
  return url && /\/\/([^@]+)@/.exec(url)?.[1]
}

/**
 * A user for each service, and one for backups: RabbitMQ tells its definitions to administrators alone. With definitions to load, it makes no user of
 * its own.
 */
export function rabbitmqDefinitions(passwords: ReadonlyMap<string, string>): string {
  const permission = (user: string) => (user === 'backup' ? '^$' : '.*')
  return JSON.stringify({
    vhosts: [{ name: '/' }],
    users: [...passwords].map(([name, password]) => ({
      name,
      password_hash: rabbitmqHash(password),
      hashing_algorithm: 'rabbit_password_hashing_sha256',
      tags: name === 'backup' ? 'administrator' : '',
    })),
    permissions: [...passwords.keys()].map((user) => {
      const may = permission(user)
      return { user, vhost: '/', configure: may, write: may, read: may }
    }),
  })
}

/** Nothing without a token. The name of the first one is that of Consul before 1.11, which later ones still take. */
function consulAcl(management: string): string {
  return JSON.stringify({ acl: { enabled: true, default_policy: 'deny', tokens: { master: management, agent: management } } })
}

/** All of them, by the names of their files: drawn, or as the folder has them where one repeats another. */
function secretFiles(folder: string): readonly (readonly [name: string, text: string])[] {
  const databases = services.flatMap((name) => {
    const password = kept(folder, `${name}_db_password`) ?? draw()
    const who = credentialOf(kept(folder, `${name}_db_url`)) ?? `${name}:${password}`
    return [
      [`${name}_db_password`, password],
      [`${name}_db_url`, `postgres://${who}@postgres:5432/${name}`],
      [`${name}_db_url_tls`, `postgres://${who}@postgres:5432/${name}?sslmode=verify-full`],
      [`${name}_db_urls`, `postgres://${who}@postgres:5432,postgres-2:5432/${name}`],
    ] as const
  })
  const redis = kept(folder, 'redis_password') ?? draw()
  const queues = services.map((name) => [name, credentialOf(kept(folder, `${name}_queue_url`)) ?? `${name}:${draw()}`] as const)
  const queueUsers = queues.map(([, who]) => who.split(':') as [string, string])
  const [backups, backupKey] = [kept(folder, 'backup_queue_password') ?? draw(), kept(folder, 'backup_key') ?? draw()]
  const management = randomUUID()
  return [
    ['admin_token', draw()],
    ['postgres_password', draw()],
    ['metrics_db_password', draw()],
    ['grafana_password', draw()],
    ['elastic_password', draw()],
    ['kibana_password', draw()],
    ['logstash_password', draw()],
    ['grafana_elastic_password', draw()],
    ['metrics_consul_token', randomUUID()],
    ['patroni_consul_token', randomUUID()],
    ['replication_password', draw()],
    ['erlang_cookie', draw()],
    ...databases,
    ...queues.map(([name, who]) => [`${name}_queue_url`, `amqp://${who}@rabbitmq:5672`] as const),
    ...queues.map(([name, who]) => [`${name}_queue_url_tls`, `amqps://${who}@rabbitmq:5671`] as const),
    ['backup_queue_password', backups],
    ['rabbitmq_definitions', rabbitmqDefinitions(new Map([...queueUsers, ['backup', backups]]))],
    ['backup_key', backupKey],
    ['pgbackrest_key', `[global]\nrepo1-cipher-pass=${backupKey}\n`],
    ['redis_auth', `requirepass ${redis}\n`],
    ['redis_password', redis],
    ['redis_url', `redis://:${redis}@redis:6379`],
    ['redis_url_tls', `rediss://:${redis}@redis:6379`],
    ['redis_exporter_passwords_tls', JSON.stringify({ 'rediss://redis:6379': redis })],
    ['redis_exporter_passwords', JSON.stringify({ 'redis://redis:6379': redis, 'redis://redis-2:6379': redis })],
    ['consul_management_token', management],
    ['consul_acl', consulAcl(management)],
    ['catalog_consul_token', randomUUID()],
    ['orders_consul_token', randomUUID()],
    ['gateway_consul_token', randomUUID()],
    ['complete', ''],
  ] as const
}

/**
 * Draws every password once; returns true when it did. The containers' users differ from the owner of the files,
 * so the files are readable and it is the folder that keeps other users of this machine out. Throws about a folder
 * that holds other things: somebody needs it, with the access that it has.
 */
export function writeSecrets(folder: string): boolean {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const files = secretFiles(folder)
  const held = readdirSync(folder)
  if (held.length > 0 && !held.some((name) => name === 'tls' || files.some(([file]) => file === name)))
    throw new Error(`FILM_STORE_SECRETS: ${folder} holds other things (${held[0]}); it must be a folder for the passwords alone`)
  chmodSync(folder, 0o700)
  // What belongs together came together, so what a newer version needs besides is drawn alone.
  const missing = files.filter(([name]) => !existsSync(join(folder, name)))
  for (const [name, text] of missing) writeFileSync(join(folder, name), text, { mode: 0o444 })
  return missing.length > 0
}

/** What was drawn, and the certificates beside it. Whatever else somebody keeps in the folder stays, and then the folder does. */
export function removeSecrets(folder: string): void {
  if (!existsSync(folder)) return
  for (const name of [...secretFiles(folder).map(([each]) => each), 'tls']) rmSync(join(folder, name), { recursive: true, force: true })
  if (readdirSync(folder).length === 0) rmdirSync(folder)
}
