import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  Client,
  credentials,
  type ClientDuplexStream,
  type handleUnaryCall,
  type handleBidiStreamingCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { freePort } from '@platform/stack'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { writeCertificate } from './certificate.fixture.ts'
import { identityIssuer, type Issuer, nginxPrograms, type Run, runGateway, settableDiscovery } from './gateway-run.fixture.ts'

const write = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const read = (bytes: Buffer): unknown => JSON.parse(bytes.toString())
const text = { requestSerialize: write, requestDeserialize: read, responseSerialize: write, responseDeserialize: read }
const definition = {
  Echo: { path: '/films.Films/Echo', requestStream: false, responseStream: false, ...text },
  Talk: { path: '/films.Films/Talk', requestStream: true, responseStream: true, ...text },
} as const

/** Says what it was asked; fails or keeps silent when it is told to. */
const echo: handleUnaryCall<{ fail?: boolean; silent?: boolean }, unknown> = (call, answer) => {
  const trailers = new Metadata()
  trailers.set('x-trailer', 'last')
  if (call.request.silent) return
  if (call.request.fail) return answer({ code: status.FAILED_PRECONDITION, details: 'not now', metadata: trailers })
  answer(null, { metadata: call.metadata.getMap(), deadline: call.getDeadline() }, trailers)
}
const talk: handleBidiStreamingCall<unknown, unknown> = (call) => {
  call.on('data', (message: unknown) => call.write({ heard: message }))
  call.on('end', () => call.end())
}

async function filmsService(
  identity: ServerCredentials = ServerCredentials.createInsecure(),
): Promise<{ port: number; close: () => void }> {
  const server = new Server()
  server.addService(definition, { Echo: echo, Talk: talk })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', identity, (error, bound) => (error ? reject(error) : resolve(bound)))
  })
  return { port, close: () => server.forceShutdown() }
}

const routes = (issuer: string, more: string, caFile: string) => `
listeners: [{{listen}}${more}]
services: { films: {}, nobody: {}, localhost: { tls: { caFile: ${caFile} } } }
identityProviders:
  customers: { issuer: '${issuer}', audience: film-store, jwksUri: '${issuer}/keys', algorithms: [ES256] }
routes:
  - name: open
    matches: [{ path: { value: /films.Films } }]
    auth: public
    backendRefs: [{ name: films }]
    grpc: true
    timeouts: { requestMs: 7000, backendRequestMs: 1000 }
  - name: own
    matches: [{ path: { value: /films.Films }, headers: [{ name: x-way, value: own }] }]
    auth: { jwt: customers, scopes: ['films:read'] }
    backendRefs: [{ name: films }]
    grpc: true
  - name: few
    matches: [{ path: { value: /films.Films }, headers: [{ name: x-way, value: few }] }]
    auth: public
    backendRefs: [{ name: films }]
    grpc: true
    rateLimit: { requests: 2, periodMs: 3600000, by: ip }
  - name: empty
    matches: [{ path: { value: /films.Films }, headers: [{ name: x-way, value: empty }] }]
    auth: public
    backendRefs: [{ name: nobody }]
    grpc: true
  - name: secure
    matches: [{ path: { value: /films.Films }, headers: [{ name: x-way, value: secure }] }]
    auth: public
    backendRefs: [{ name: localhost }]
    grpc: true
  - name: plain
    matches: [{ path: { value: /plain } }]
    auth: public
    backendRefs: [{ name: nobody }]
`

describe.each([
  ['the newest nginx, on a plain port', { nginx: nginxPrograms.newest }, false],
  ['an older nginx, over TLS', { nginx: nginxPrograms.older, endpoints: 'reload' as const }, true],
])('gRPC on %s', (_name, options, secure) => {
  let films: Awaited<ReturnType<typeof filmsService>>
  let secured: Awaited<ReturnType<typeof filmsService>>
  let issuer: Issuer
  let run: Run
  let client: Client
  const place = mkdtempSync(join(tmpdir(), 'platform-grpc-'))

  interface Answer {
    code: number
    details: string
    body: { metadata: Record<string, string>; deadline: string | number } | undefined
    initial: Metadata | undefined
    trailers: Metadata | undefined
  }
  function call(headers: Record<string, string>, request: object = {}, deadlineMs = 20_000): Promise<Answer> {
    const metadata = new Metadata()
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
    const deadline = Date.now() + deadlineMs
    return new Promise((resolve) => {
      const answer: Answer = { code: -1, details: '', body: undefined, initial: undefined, trailers: undefined }
      const { path } = definition.Echo
      const asked = client.makeUnaryRequest(path, write, read, request, metadata, { deadline }, (error: ServiceError | null, body) => {
        answer.body = body as Answer['body']
        answer.code = error?.code ?? 0
        answer.details = error?.details ?? ''
        if (error !== null) answer.trailers = error.metadata
      })
      asked.once('metadata', (initial) => (answer.initial = initial))
      asked.once('status', ({ metadata: trailers }) => {
        answer.trailers ??= trailers
        setImmediate(() => resolve(answer))
      })
    })
  }

  beforeAll(async () => {
    films = await filmsService()
    issuer = await identityIssuer()
    const files = { certificateFile: join(place, 'cert.pem'), keyFile: join(place, 'key.pem') }
    writeCertificate('films', files)
    const pair = { private_key: readFileSync(files.keyFile), cert_chain: readFileSync(files.certificateFile) }
    secured = await filmsService(ServerCredentials.createSsl(null, [pair]))
    const port = await freePort()
    const more = secure ? `, { port: ${port}, address: 127.0.0.1, tls: ${JSON.stringify(files)} }` : ''
    const discovery = settableDiscovery({ films: [films.port], nobody: [], localhost: [secured.port] })
    run = await runGateway(routes(issuer.url, more, files.certificateFile), { discovery, ...options })
    const lax = { rejectUnauthorized: false, checkServerIdentity: () => undefined }
    client = new Client(
      `127.0.0.1:${secure ? port : run.port}`,
      secure ? credentials.createSsl(null, null, null, lax) : credentials.createInsecure(),
    )
    await vi.waitUntil(async () => (await call({})).code === 0, { timeout: 20_000, interval: 100 })
  }, 60_000)
  afterAll(async () => {
    client?.close()
    await run?.[Symbol.asyncDispose]()
    films?.close()
    secured?.close()
    await issuer?.[Symbol.asyncDispose]()
    rmSync(place, { recursive: true })
  })

  it('passes calls, trailers and failures of the service on', async () => {
    const { code, body, trailers } = await call({ 'x-platform-subject': 'root', 'x-a': '1' })
    expect(code).toBe(status.OK)
    expect(trailers?.get('x-trailer')).toEqual(['last'])
    expect(body?.metadata).toMatchObject({ 'x-a': '1', 'x-forwarded-for': '127.0.0.1' })
    expect(body?.metadata['x-platform-subject']).toBeUndefined()
    expect(body?.metadata['traceparent']).toMatch(/^00-/)
    const failed = await call({}, { fail: true })
    expect([failed.code, failed.details, failed.trailers?.get('x-trailer')]).toEqual([status.FAILED_PRECONDITION, 'not now', ['last']])
  })

  it('asks a service by TLS where the file says so', { timeout: 20_000 }, async () => {
    await expect.poll(async () => (await call({ 'x-way': 'secure' })).code, { timeout: 15_000, interval: 100 }).toBe(status.OK)
  })

  it('streams both ways, each message by itself', { timeout: 20_000 }, async () => {
    const stream = client.makeBidiStreamRequest(definition.Talk.path, write, read) as ClientDuplexStream<unknown, unknown>
    const heard = stream[Symbol.asyncIterator]()
    for (const word of ['one', 'two', 'three']) {
      stream.write(word)
      expect((await heard.next()).value).toEqual({ heard: word })
    }
    // More than the body of a request may usually have.
    const large = 'x'.repeat(900_000)
    for (let time = 0; time < 3; time++) {
      stream.write(large)
      expect((await heard.next()).value).toEqual({ heard: large })
    }
    stream.end()
    expect((await heard.next()).done).toBe(true)
  })

  it("tells the service the client's deadline, or that of the route", async () => {
    const { body } = await call({}, {}, 3_000)
    expect(new Date(body!.deadline).getTime() - Date.now()).toBeLessThanOrEqual(3_000)
    const bare = new Client(client.getChannel().getTarget().replace(/^dns:/, ''), credentials.createInsecure(), {
      channelOverride: client.getChannel(),
    })
    const without = await new Promise<{ deadline: string }>((resolve, reject) => {
      bare.makeUnaryRequest(definition.Echo.path, write, read, {}, (error, answer) =>
        error ? reject(error) : resolve(answer as { deadline: string }),
      )
    })
    const left = new Date(without.deadline).getTime() - Date.now()
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThanOrEqual(7_000)
  })

  it('answers by itself with statuses of gRPC', { timeout: 30_000 }, async () => {
    const own = { 'x-way': 'own' }
    const bearer = (token: string) => ({ ...own, authorization: `Bearer ${token}` })
    const missing = await call(own)
    expect([missing.code, missing.details]).toEqual([status.UNAUTHENTICATED, 'a bearer token is needed'])
    expect((await call(bearer('a.b.c'))).code).toBe(status.UNAUTHENTICATED)
    expect((await call(bearer(await issuer.sign({ scope: 'other' })))).code).toBe(status.PERMISSION_DENIED)
    const let_in = await call(bearer(await issuer.sign({ sub: 'me', scope: 'films:read' })))
    expect([let_in.code, let_in.body?.metadata['x-platform-subject'], let_in.body?.metadata['authorization']]).toEqual([0, 'me', undefined])
    const few = [await call({ 'x-way': 'few' }), await call({ 'x-way': 'few' }), await call({ 'x-way': 'few' })]
    expect(few.map(({ code }) => code)).toEqual([0, 0, status.RESOURCE_EXHAUSTED])
    expect(Number(few[2]!.trailers?.get('retry-after')[0])).toBeGreaterThan(60)
    expect((await call({ 'x-way': 'empty' })).code).toBe(status.UNAVAILABLE)
    const silent = await call({}, { silent: true })
    expect([silent.code, silent.details]).toEqual([status.DEADLINE_EXCEEDED, 'the service was silent for too long'])
  })
})
