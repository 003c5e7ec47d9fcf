import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

/** What a client wrote, kept as it is. */
type Info = Record<string, unknown> & { instanceId: string; app: string; status: string; lastDirtyTimestamp?: string; actionType?: string }

interface Lease {
  info: Info
  durationMs: number
  renewedAt: number
  /** Set by an operator; outlives registrations. */
  overridden: string | undefined
}

export interface EurekaFixture {
  readonly url: string
  /** `METHOD path` of every request, without the query. */
  readonly requests: string[]
  /** How it answers from now on. `preserving`: expired entries stay, as when too many signs of life are missing. */
  mode: 'well' | 'failing' | 'silent' | 'preserving'
  /** Whether it tells changes; servers can be told not to. */
  deltas: boolean
  /** Entries that one delta leaves out although its hash counts them. */
  forgetful: boolean
  entries(app: string): Info[]
  ask(method: string, path: string, json?: unknown): Promise<number>
  connections(): Promise<number>
  /** All entries and changes are lost. */
  empty(): void
  stop(): Promise<void>
  /** On the same port. */
  start(): Promise<void>
}

/** Between two looks for expired leases, and how long a change is told. */
const EVICTION_MS = 200
const DELTA_MS = 180_000

/**
 * The REST API of a Eureka server as its documentation and its sources have it: leases that expire, overridden statuses, a queue of changes that is
 * told for minutes, a hash of counts, answers from a cache, and registrations that give way to newer ones.
 */
export async function eurekaServer({ cacheMs = 0, port = 0 }: { cacheMs?: number; port?: number } = {}): Promise<EurekaFixture> {
  const apps = new Map<string, Map<string, Lease>>()
  let changes: { at: number; lease: Lease; action: string }[] = []
  const cache = new Map<string, { at: number; body: string }>()
  const all = (): Lease[] => [...apps.values()].flatMap((leases) => [...leases.values()])
  const change = (lease: Lease, action: string): void => void changes.push({ at: Date.now(), lease, action })

  const hash = (): string => {
    const counts: Record<string, number> = {}
    for (const { info } of all()) counts[info.status] = (counts[info.status] ?? 0) + 1
    return Object.keys(counts)
      .sort((a, b) => (a < b ? -1 : 1))
      .map((status) => `${status}_${counts[status]}_`)
      .join('')
  }
  const told = (infos: readonly Info[]): string => {
    const names = [...new Set(infos.map(({ app }) => app))]
    const application = names.map((name) => ({ name, instance: infos.filter(({ app }) => app === name) }))
    return JSON.stringify({ applications: { versions__delta: '1', apps__hashcode: hash(), application } })
  }
  const cached = (key: string, make: () => string): string => {
    const known = cache.get(key)
    if (known !== undefined && Date.now() - known.at < cacheMs) return known.body
    const body = make()
    cache.set(key, { at: Date.now(), body })
    return body
  }

  const fixture: EurekaFixture = {
    url: '',
    requests: [],
    mode: 'well',
    deltas: true,
    forgetful: false,
    entries: (app) => [...(apps.get(app)?.values() ?? [])].map(({ info }) => info),
    async ask(method, path, json) {
      const answer = await fetch(fixture.url + path, {
        method,
        headers: { accept: 'application/json', 'content-type': 'application/json' },
        body: json === undefined ? null : JSON.stringify(json),
      })
      await answer.text()
      return answer.status
    },
    connections: () => new Promise((resolve) => server!.getConnections((_, count) => resolve(count))),
    empty() {
      apps.clear()
      changes = []
      cache.clear()
    },
    stop: () => stop(),
    start: () => start(),
  }

  const handle = (method: string, url: URL, body: string): { status: number; body?: string } => {
    const [, , first, name, id, status] = url.pathname.replace(/\/$/, '').split('/').map(decodeURIComponent)
    if (first !== 'apps') return { status: 404 }
    // Applications are known in capitals.
    const app = name?.toUpperCase()
    if (app === undefined) return { status: 200, body: cached('apps', () => told(all().map(({ info }) => info))) }
    if (app === 'DELTA') {
      if (!fixture.deltas) return { status: 403 }
      changes = changes.filter(({ at }) => at > Date.now() - DELTA_MS)
      const tell = (): string => told(changes.map(({ lease, action }) => ({ ...lease.info, actionType: action })))
      if (!fixture.forgetful) return { status: 200, body: cached('delta', tell) }
      changes = []
      return { status: 200, body: tell() }
    }
    if (method === 'POST') return { status: register(app, body) }
    const lease = apps.get(app)?.get(id ?? '')
    if (lease === undefined) return { status: 404 }
    if (status === 'status') {
      lease.overridden = method === 'DELETE' ? undefined : url.searchParams.get('value')!
      lease.info = { ...lease.info, status: url.searchParams.get('value') ?? 'UNKNOWN', overriddenstatus: lease.overridden ?? 'UNKNOWN' }
      change(lease, 'MODIFIED')
      return { status: 200 }
    }
    if (method === 'GET') return { status: 200, body: JSON.stringify({ instance: lease.info }) }
    if (method === 'DELETE') {
      apps.get(app)!.delete(id!)
      change(lease, 'DELETED')
      return { status: 200 }
    }
    if (Number(url.searchParams.get('lastDirtyTimestamp') ?? 0) > Number(lease.info.lastDirtyTimestamp)) return { status: 404 }
    lease.renewedAt = Date.now()
    return { status: 200 }
  }

  const register = (app: string, body: string): number => {
    const { instance } = JSON.parse(body) as { instance?: Info & { leaseInfo?: { durationInSecs?: number } } }
    if (!instance?.instanceId || !instance['hostName'] || !instance['ipAddr'] || instance['dataCenterInfo'] === undefined) return 400
    if (instance.app.toUpperCase() !== app) return 400
    instance.app = app
    const leases = apps.get(app) ?? new Map<string, Lease>()
    apps.set(app, leases)
    const before = leases.get(instance.instanceId)
    const isOlder = before !== undefined && Number(before.info.lastDirtyTimestamp) > Number(instance.lastDirtyTimestamp)
    const overridden = before?.overridden
    const lease: Lease = {
      info: isOlder ? before.info : { ...instance, ...(overridden === undefined ? {} : { status: overridden }) },
      durationMs: (instance.leaseInfo?.durationInSecs ?? 90) * 1000,
      renewedAt: Date.now(),
      overridden,
    }
    leases.set(instance.instanceId, lease)
    change(lease, 'ADDED')
    return 204
  }

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const url = new URL(request.url!, 'http://eureka')
    fixture.requests.push(`${request.method} ${url.pathname}`)
    if (fixture.mode === 'silent') return
    if (fixture.mode === 'failing') return void response.writeHead(503).end('no')
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => {
      const made = handle(request.method!, url, body)
      // Without being asked for JSON it answers in XML.
      const isJson = request.headers.accept?.includes('json') === true
      response.writeHead(made.status, { 'content-type': isJson ? 'application/json' : 'application/xml' })
      response.end(isJson ? made.body : '<applications/>')
    })
  }

  let server: Server | undefined
  const start = async (): Promise<void> => {
    server = createServer(answer).listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    Object.assign(fixture, { url: `http://127.0.0.1:${port}/eureka` })
  }
  const stop = async (): Promise<void> => {
    const stopping = server
    server = undefined
    if (stopping === undefined) return
    const closed = once(stopping, 'close')
    stopping.close()
    stopping.closeAllConnections()
    await closed
  }
  const eviction = setInterval(() => {
    if (fixture.mode !== 'well') return
    for (const leases of apps.values())
      for (const [id, lease] of leases) {
        if (Date.now() - lease.renewedAt <= lease.durationMs) continue
        leases.delete(id)
        change(lease, 'DELETED')
      }
  }, EVICTION_MS)
  onTestFinished(async () => {
    clearInterval(eviction)
    await stop()
  })
  await start()
  return fixture
}
