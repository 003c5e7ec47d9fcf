// Gives the service named by the argument its other user, with a new password, in PostgreSQL and in RabbitMQ, proves both and prints them for whoever keeps
// the passwords. Runs in an image of a service, which has the libraries; `pnpm infra rotate` calls it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createRotation, postgresUsers, rabbitmqUsers } from '/repo/packages/config/dist/rotation/index.js'

const service = process.argv[2]
const secret = (name) => readFileSync(`/run/secrets/${name}`, 'utf8').trim()
const users = [`${service}_a`, `${service}_b`]
const next = {}

/** The credential in use is the one in the URL; the next one is printed at the end. */
const store = (kind) => ({
  name: `the URL of ${kind}`,
  read: async () => ({ username: new URL(secret(`${service}_${kind}_url`)).username, writtenAt: 0, revision: '' }),
  write: async (credential) => void (next[kind] = credential),
})
const { RABBITMQ_MANAGEMENT: management, RABBITMQ: amqp, POSTGRES: parameters = '' } = process.env
const adminUrl = `postgres://postgres:${secret('postgres_password')}@postgres:5432/${service}${parameters}`
const targets = {
  db: postgresUsers({ adminUrl, users, role: service }),
  queue: rabbitmqUsers({ managementUrl: management.replace('://', `://backup:${secret('backup_queue_password')}@`), url: amqp, users }),
}
for (const [kind, target] of Object.entries(targets)) await createRotation({ target, store: store(kind), minimumAgeMs: 0 }).run()
// The user of the first start is over once the two take turns; the role stays, since it owns the tables.
if (users.includes(new URL(secret(`${service}_db_url`)).username)) {
  const { Client } = createRequire('/repo/packages/config/dist/index.js')('pg')
  const client = new Client({ connectionString: adminUrl })
  await client.connect()
  await client.query(`alter role "${service}" nologin`)
  await client.end()
  const authorization = `Basic ${Buffer.from(`backup:${secret('backup_queue_password')}`).toString('base64')}`
  const { status } = await fetch(`${management}/api/users/${service}`, { method: 'DELETE', headers: { authorization } })
  if (status !== 204 && status !== 404) throw new Error(`RabbitMQ kept the user ${service}: ${status}`)
}
console.log(JSON.stringify(next))
