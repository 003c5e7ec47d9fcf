import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { testPostgres } from '@platform/stack/testing'
import axios from 'axios'
import { IsString, MinLength, validate, ValidateNested, type ValidationError } from 'class-validator'
import pg from 'pg'
import { Client, interceptors } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { LogFormat } from '../index.ts'
import { kept, loose } from '../testing/kept-logger.ts'

const canary = 'hunter2canary'
const formats: LogFormat[] = ['json', 'ecs', 'pretty']

/** Answers everything with 401, and with what it was sent, as debug pages do. */
const server = createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (text: string) => (body += text))
  request.on('end', () => {
    const echo = { sent: body, headers: request.headers }
    response.writeHead(401, { 'content-type': 'application/json', 'set-cookie': `sid=${canary}` }).end(JSON.stringify(echo))
  })
})
let url = ''
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.close()
  server.closeAllConnections()
})

const login = JSON.stringify({ user: 'me', password: canary })
const headers = { authorization: `Bearer ${canary}`, cookie: `sid=${canary}`, 'content-type': 'application/json' }

async function errorOf(work: () => unknown): Promise<unknown> {
  try {
    await work()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

/** In every channel and format; returns a line of it, to see that the rest is still there. */
function logged(error: unknown): string {
  let line = ''
  for (const format of formats) {
    const { logger, texts } = kept({ format })
    logger.error({ err: error }, 'failed')
    logger.error({ error, list: [error] })
    logger.error({ err: new Error('outer', { cause: error }) })
    logger.error(`failed: ${String(error)}`)
    loose(logger).error('%o %j %s', error, error, error)
    if (error instanceof Error) logger.error(Object.fromEntries(Object.entries(error)), error.stack)
    expect(texts.filter((text) => text.includes(canary))).toEqual([])
    line = texts[0]!
  }
  return line
}

describe('no secret shows in an error of', () => {
  it('axios', async () => {
    const post = () =>
      axios.post(`${url}/login?token=${canary}`, { user: 'me', password: canary }, { headers, auth: { username: 'me', password: canary } })
    expect(logged(await errorOf(post))).toContain('Request failed with status code 401')
    const proxy = { host: '127.0.0.1', port: 1, auth: { username: 'me', password: canary } }
    expect(logged(await errorOf(() => axios.post(url, new URLSearchParams({ password: canary }), { headers, proxy })))).toContain(
      'ECONNREFUSED',
    )
  })

  it('undici and fetch', async () => {
    const client = new Client(url).compose(interceptors.responseError())
    const request = () => client.request({ path: `/login?token=${canary}`, method: 'POST', body: login, headers })
    expect(logged(await errorOf(request))).toContain('401')
    expect(logged(await errorOf(() => fetch(`http://me:${canary}@127.0.0.1/`)))).toContain('credentials')
    expect(logged(await errorOf(() => fetch(`http://127.0.0.1:1/?password=${canary}`, { headers })))).toContain('fetch failed')
  })

  it('zod', () => {
    const form = z.object({ user: z.string(), password: z.string().min(50), auth: z.object({ token: z.number() }) })
    const { error } = form.safeParse({ user: 'me', password: canary, auth: { token: canary } }, { reportInput: true })
    expect(logged(error)).toContain('password')
    expect(logged(z.treeifyError(error!))).toContain('password')
    expect(logged(z.prettifyError(error!))).toContain('password')
  })

  it('class-validator', async () => {
    class Login {
      user = 'me'
      password = canary
    }
    class Form {
      login = new Login()
      apiKeys = [canary]
      token: unknown = { text: canary }
    }
    // As decorators do.
    MinLength(50)(Login.prototype, 'password')
    ValidateNested()(Form.prototype, 'login')
    MinLength(50, { each: true })(Form.prototype, 'apiKeys')
    IsString()(Form.prototype, 'token')
    const errors = await validate(new Form())
    expect(errors.map(({ property }) => property).toSorted()).toEqual(['apiKeys', 'login', 'token'])
    expect(logged(errors)).toContain('password')
    for (const error of errors) expect(logged(error)).toContain(error.property)
    const inner = errors.find(({ property }) => property === 'login')!.children![0]!
    expect(logged(inner)).toContain('minLength')
    // As frameworks throw them.
    expect(logged(Object.assign(new Error(String(errors)), { errors }))).toContain('minLength')
    const constraintsOf = ({ constraints = {}, children = [] }: ValidationError): string[] => [
      ...Object.values(constraints),
      ...children.flatMap(constraintsOf),
    ]
    expect(logged({ message: errors.flatMap(constraintsOf), statusCode: 400 })).toContain('400')
  })

  it('pg', async () => {
    await using database = await testPostgres()
    const client = new pg.Client(database.url)
    await client.connect()
    try {
      await client.query('CREATE TABLE users (id int, email text NOT NULL, password text UNIQUE CHECK (length(password) > 3))')
      const insert = (id: number, email: string | null, password: string) =>
        client.query('INSERT INTO users (id, email, password) VALUES ($1, $2, $3)', [id, email, password])
      await insert(1, 'a', canary)
      expect(logged(await errorOf(() => insert(2, 'b', canary)))).toContain('users_password_key')
      // It shows the whole row, and names no column of it.
      expect(logged(await errorOf(() => insert(3, null, `${canary}, with (brackets) and "quotes"`)))).toContain('not-null')
      expect(logged(await errorOf(() => client.query(`ALTER ROLE nobody_here WITH PASSWORD '${canary}'`)))).toContain('does not exist')
    } finally {
      await client.end()
    }
    const url = new URL(database.url)
    url.password = canary
    url.username = 'nobody_here'
    expect(logged(await errorOf(() => new pg.Client(url.href).connect()))).toContain('nobody_here')
  })

  it('what stands between a program and its database, with the statement and its parameters', () => {
    const query = 'INSERT INTO "users"("email", "password") VALUES ($1, $2)'
    const typeorm = Object.assign(new Error('duplicate key'), { query, parameters: ['a', canary], driverError: { detail: 'x' } })
    expect(logged(typeorm)).toContain('INSERT INTO')
    const drizzle = Object.assign(new Error(`Failed query: ${query}\nparams: a,${canary}`), { query, params: ['a', canary] })
    expect(logged(drizzle)).toContain('Failed query')
    const row = { code: '23502', detail: `Fehlgeschlagene Zeile enthält (3, null, ${canary}).` }
    expect(logged(Object.assign(new Error('NULL-Wert verletzt Not-Null-Constraint'), row))).toContain('verletzt')
    const prisma = { sql: 'UPDATE accounts SET api_key = ? WHERE id = ?', values: [canary, 1] }
    expect(logged(prisma)).toContain('UPDATE accounts')
  })
})

it.each([
  { query: 'SELECT * FROM films WHERE id = $1', parameters: [17, 'Metropolis'] },
  { sql: 'UPDATE films SET title = ? WHERE id = ?', values: ['Metropolis', 17] },
])('the parameters of a statement without a secret stay readable: %o', (fields) => {
  const { logger, lines } = kept()
  logger.info(fields)
  expect(lines()).toMatchObject([fields])
})
