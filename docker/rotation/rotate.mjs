// Gives the service named by the argument its other user, with a new password, in PostgreSQL and in RabbitMQ, proves both and prints them for whoever keeps
// the passwords. Runs in an image of a service, which has the libraries; `pnpm infra rotate` calls it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createRotation, postgresUsers, rabbitmqUsers } from '/repo/packages/config/dist/rotation/index.js'

const service = process.argv[2]
const secret = (name) => readFileSync(`/run/secrets/${name}`, 'utf8').trim()
const users = [`${service}_a`, `${service}_b`]
const next = {}

/** Who is in use. With several hosts a URL is none to Node. */
const userOf = (kind) => secret(`${service}_${kind}_url`).split('://')[1].split(':')[0]

/** The credential in use is the one in the URL; the next one is printed at the end. */
const store = (kind) => ({
  name: `the URL of ${kind}`,
  read: async () => ({ username: userOf(kind), writtenAt: 0, revision: '' }),
  write: async (credential) => void (next[kind] = credential),
})
const { RABBITMQ_MANAGEMENT: management, RABBITMQ: amqp, POSTGRES_HOSTS: hosts = 'postgres', POSTGRES: parameters = '' } = process.env
const { Client } = createRequire('/repo/packages/config/dist/index.js')('pg')

/** As the administrator of the server that leads, which only one of several does. */
async function adminUrl() {
  let failure
  for (const host of hosts.split(',')) {
    const url = `postgres://postgres:${secret('postgres_password')}@${host}:5432/${service}${parameters}`
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
    client.on('error', () => {})
    try {
      await client.connect()
      const { rows } = await client.query('select pg_is_in_recovery() as follows')
      if (!rows[0].follows) return url
    } catch (error) {
      failure = error
    } finally {
      await client.end().catch(() => {})
    }
  }
  throw new Error(`none of ${hosts} leads`, { cause: failure })
}
const targets = {
  db: postgresUsers({ adminUrl, users, role: service }),
  queue: rabbitmqUsers({ managementUrl: management.replace('://', `://backup:${secret('backup_queue_password')}@`), url: amqp, users }),
}
for (const [kind, target] of Object.entries(targets)) await createRotation({ target, store: store(kind), minimumAgeMs: 0 }).run()
// The user of the first start is over once the two take turns; the role stays, since it owns the tables.
if (users.includes(userOf('db'))) {
  const client = new Client({ connectionString: await adminUrl() })
  await client.connect()
  await client.query(`alter role "${service}" nologin`)
  await client.end()
  const authorization = `Basic ${Buffer.from(`backup:${secret('backup_queue_password')}`).toString('base64')}`
  const { status } = await fetch(`${management}/api/users/${service}`, { method: 'DELETE', headers: { authorization } })
  if (status !== 204 && status !== 404) throw new Error(`RabbitMQ kept the user ${service}: ${status}`)
}
console.log(JSON.stringify(next))
