import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withClient } from './databases.ts'
import { builtCode } from './services.ts'
import { openStore, type Store } from './store.ts'

interface Problem {
  readonly title: string
  readonly status: number
  readonly errors?: readonly { pointer: string; message: string }[]
}

describe('the film store', () => {
  let store: Store
  beforeAll(async () => {
    store = await openStore({ mode: 'embedded', launcher: builtCode, onProgress: () => {} })
  }, 180_000)
  afterAll(async () => {
    await store?.[Symbol.asyncDispose]()
  })

  const json = { 'content-type': 'application/json', 'idempotency-key': 'a-key-of-its-own' }
  const post = (body: string | undefined, headers: Record<string, string> = json) =>
    fetch(`${store.ordersUrls[0]}/orders`, { method: 'POST', headers, ...(body !== undefined && { body }) })
  const get = (path: string) => fetch(`${store.catalogUrls[0]}${path}`)
  const order = (fields: object) => JSON.stringify({ filmId: 1, quantity: 1, ...fields })

  const bad: [what: string, send: () => Promise<Response>, status: number, ...fields: string[]][] = [
    ['malformed JSON', () => post('{"filmId": 1,'), 400],
    ['a missing field', () => post(JSON.stringify({ filmId: 1 })), 400, 'quantity'],
    ['a negative quantity', () => post(order({ quantity: -1 })), 400, 'quantity'],
    ['a quantity that is text', () => post(order({ quantity: '1' })), 400, 'quantity'],
    ['an unknown film', () => post(order({ filmId: 999_999 })), 422, 'filmId'],
    ['no idempotency key', () => post(order({}), { 'content-type': 'application/json' }), 400, 'idempotency-key'],
    ['a body of 2 MB', () => post(order({ note: 'x'.repeat(2_000_000) })), 413],
    ['a wrong content type', () => post('filmId=1', { ...json, 'content-type': 'text/plain' }), 415],
    ['no body', () => post(undefined), 400, 'filmId', 'quantity'],
    ['an order number that is none', () => fetch(`${store.ordersUrls[0]}/orders/1`), 400, 'id'],
    ['a film number that is none', () => get('/films/first'), 400, 'id'],
    ['an unknown film page', () => get('/films/999999'), 404, 'id'],
    ['a search for nothing', () => get('/films?query='), 400, 'query'],
    ['an unknown path', () => get('/films/1/reviews'), 404],
  ]

  it.each(bad)('answers %s with a problem that names the fields', async (_what, send, status, ...fields) => {
    const answer = await send()
    const problem = (await answer.json()) as Problem
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    expect(answer.status).toBe(status)
    expect(problem.status).toBe(status)
    expect(problem.title).not.toBe('')
    expect(problem.errors?.map((error) => error.pointer) ?? []).toEqual(fields.map((field) => `#/${field}`))
  })

  it('stored nothing of it and logged no error', async () => {
    const stored = await withClient(store.databases.orders, async (client) => (await client.query('select 1 from orders')).rowCount)
    expect(stored).toBe(0)
    const errors = readFileSync(store.services.logFile, 'utf8')
      .split('\n')
      .filter((line) => /"level":[56]0/.test(line))
    expect(errors).toEqual([])
  })

  it('answers a repeated order with the same one, and refuses the key for another', async () => {
    const headers = { ...json, 'idempotency-key': 'pressed-twice' }
    const [first, second] = [await post(order({}), headers), await post(order({}), headers)]
    const other = await post(order({ quantity: 2 }), headers)
    expect([first.status, second.status, other.status]).toEqual([201, 200, 409])
    expect(((await first.json()) as { id: string }).id).toBe(((await second.json()) as { id: string }).id)
  })

  it('shows the new stock on the pages of both instances', async () => {
    const stockOn = async (url: string) => ((await (await fetch(`${url}/films/2`)).json()) as { stock: number }).stock
    const before = await Promise.all(store.catalogUrls.map(stockOn))
    const placed = await post(order({ filmId: 2 }), { ...json, 'idempotency-key': 'one-of-film-2' })
    expect(placed.status).toBe(201)
    await expect.poll(() => Promise.all(store.catalogUrls.map(stockOn)), { timeout: 20_000 }).toEqual(before.map((stock) => stock - 1))
  })
})
