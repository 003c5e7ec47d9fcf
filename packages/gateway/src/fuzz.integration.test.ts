import { safeLogger } from '@platform/kernel'
import { freePort } from '@platform/stack'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileGateway } from './compile/gateway-config.ts'
import { echoService, nginxPrograms, runGateway, type Seen, settableDiscovery } from './gateway-run.fixture.ts'
import { GatewayError, readGatewayFile } from './index.ts'
import { NginxProcess } from './nginx-process.ts'

/** What means something to nginx, YAML or PCRE, and what does not. */
const piece = fc.oneof(
  fc.constantFrom(
    '$',
    '${',
    '}',
    '{',
    ';',
    '"',
    "'",
    '\\',
    '\\n',
    '#',
    '$host',
    '${host}',
    '$1',
    '~',
    '~*',
    '@',
    '%',
    '%0d',
    '..',
    ' ',
    '*',
    '(',
    ')',
    '[',
    '|',
    'default',
    'include',
    'hostnames',
    'volatile',
    '$$',
  ),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }),
)
const text = fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => pieces.join(''))
/** What a header can hold at both of its ends. */
const headerValue = text.map((value) => value.replaceAll(/[^\x20-\x7e]/g, '').trim()).filter((value) => value !== '')

/** nginx binds what it checks: a port that anybody may take. */
const listener = { port: await freePort(), address: '127.0.0.1' }
const file = (routes: object[]) => JSON.stringify({ listeners: [listener], services: { catalog: {} }, routes })
const route = (name: string, more: object) => ({ name, auth: 'public', backendRefs: [{ name: 'catalog' }], ...more })
const seed = Number(process.env['PLATFORM_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

describe(`texts of all kinds (PLATFORM_FUZZ_SEED=${seed})`, () => {
  it('are refused before nginx sees them, or taken by nginx: never refused by it', { timeout: 120_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'platform-gateway-fuzz-'))
    const nginx = new NginxProcess({ program: nginxPrograms.newest, folder, logger: safeLogger(undefined) })
    const match = fc.record({
      path: fc.record({ type: fc.constantFrom('Exact', 'PathPrefix', 'RegularExpression'), value: text.map((value) => `/${value}`) }),
      headers: fc.array(
        fc.record({ name: fc.constantFrom('x-a', 'x-b'), type: fc.constantFrom('Exact', 'RegularExpression'), value: text }),
        { maxLength: 1 },
      ),
    })
    const filters = fc.constantFrom('set', 'redirect', 'rewrite', 'none').chain((kind) =>
      fc.tuple(text, text).map(([a, b]) => {
        if (kind === 'set')
          return [
            { requestHeaderModifier: { set: [{ name: 'x-c', value: a }] } },
            { responseHeaderModifier: { set: [{ name: 'x-d', value: b }] } },
          ]
        if (kind === 'rewrite') return [{ urlRewrite: { path: { replaceFullPath: `/${a}` } } }]
        return kind === 'redirect' ? [{ requestRedirect: { path: { replaceFullPath: `/${a}` } } }] : []
      }),
    )
    let taken = 0
    let refused = 0
    const wellFormed: object[] = []
    try {
      const samples = fc.sample(fc.record({ matches: fc.array(match, { minLength: 1, maxLength: 2 }), filters }), { seed, numRuns: 1500 })
      for (const [number, sample] of samples.entries()) {
        const redirect = (sample.filters as object[]).some((filter) => 'requestRedirect' in filter)
        const one = route(`r${number}`, {
          ...sample,
          grpc: number % 5 === 0,
          hostnames: [`h${number}.example`],
          ...(redirect ? { backendRefs: [] } : {}),
        })
        try {
          readGatewayFile(file([one]))
          wellFormed.push(one)
          taken++
        } catch (error) {
          if (!GatewayError.isInstance(error)) throw error
          refused++
        }
      }
      expect(taken).toBeGreaterThan(100)
      expect(refused).toBeGreaterThan(100)
      // By hundreds: nginx takes most of its time for its start.
      for (let from = 0; from < wellFormed.length; from += 100) {
        const parsed = readGatewayFile(file(wellFormed.slice(from, from + 100)))
        const conf = join(folder, 'nginx.conf')
        const endpoints = { by: 'text', of: new Map() } as const
        writeFileSync(
          conf,
          compileGateway(parsed, {
            folder,
            generation: 'fuzz',
            revision: 'fuzz',
            workers: 1,
            connections: 100,
            user: undefined,
            endpoints,
            nginxVersion: '1.30.0',
          }),
        )
        await nginx.test(conf)
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('arrive at services as they stand in the file', { timeout: 120_000 }, async () => {
    await using catalog = await echoService('catalog')
    const values = fc.sample(headerValue, { seed, numRuns: 60 })
    const routes = values.map((value, number) =>
      route(`r${number}`, {
        matches: [{ path: { type: 'Exact', value: `/r${number}` }, headers: [{ name: 'x-match', value }] }],
        filters: [
          { requestHeaderModifier: { set: [{ name: 'x-set', value }] } },
          { responseHeaderModifier: { set: [{ name: 'x-back', value }] } },
        ],
      }),
    )
    const contents = file(routes).replace(JSON.stringify(listener), '{{listen}}')
    await using run = await runGateway(contents, { discovery: settableDiscovery({ catalog: [catalog.port] }) })
    for (const [number, value] of values.entries()) {
      const answer = await fetch(`${run.url}/r${number}`, { headers: { 'x-match': value } })
      expect([value, answer.status]).toEqual([value, 200])
      expect(answer.headers.get('x-back')).toBe(value)
      expect(((await answer.json()) as Seen).headers['x-set']).toBe(value)
      expect((await fetch(`${run.url}/r${number}`, { headers: { 'x-match': `${value}x` } })).status).toBe(404)
    }
  })
})
