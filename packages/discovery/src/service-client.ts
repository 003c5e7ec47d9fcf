import { context, trace } from '@opentelemetry/api'
import { type Attempt, createPolicy, type Policy, type PolicyOptions } from '@platform/resilience'
import { type RequestInit as UndiciRequestInit, fetch as undiciFetch } from 'undici'
import { type Balancer, type BalancerName, balancers } from './balancer.ts'
import { clientPolicy } from './client-policy.ts'
import { ejectIfFailing, usable } from './ejection.ts'
import { Endpoint } from './endpoint.ts'
import { DiscoveryError } from './errors.ts'
import { instruments, RequestTelemetry } from './instrumentation.ts'
import { invalidOption, onlyKnown } from './option-checks.ts'
import { type Instance, instanceKey } from './registry.ts'
import { isReplayable, toUndiciBody } from './request-body.ts'
import type { ServiceWatch } from './service-watch.ts'

/** Adds headers to an outgoing request. */
export type OutboundHook = (headers: Record<string, string>) => void

export interface ServiceClientOptions {
  /** Default: `timeoutMs` 10,000 and up to 3 attempts. What is given replaces the default as a whole. */
  policy?: PolicyOptions | undefined
  /** Default 'p2c-ewma'. */
  balancer?: BalancerName | undefined
  /** Run for each attempt, inside its span. */
  outbound?: readonly OutboundHook[] | undefined
}

export type ServiceRequestInit = RequestInit & {
  /** Whether it may be sent again when it may have had its effect. Default: by the method, or true with an Idempotency-Key header. */
  idempotent?: boolean | undefined
}

export interface InstanceExplanation {
  readonly instance: Instance
  /** Part of this client's requests that it got, 0 to 1. */
  readonly share: number
  readonly ewmaMs: number
  /** Time left until it gets traffic again. */
  readonly ejectedUntilMs?: number
  readonly reason: string
}

export interface ServiceClient {
  /** Resolves for every status, like fetch. Rejects when no answer came. Redirects are not followed. */
  fetch(path: string, init?: ServiceRequestInit): Promise<Response>
  explain(): readonly InstanceExplanation[]
  /** Resolves when there is an instance to talk to. */
  ready(options?: { signal?: AbortSignal | undefined }): Promise<void>
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

interface Request {
  readonly path: string
  readonly method: string
  readonly headers: Record<string, string>
  readonly init: RequestInit
  readonly signal: AbortSignal | undefined
  readonly tried: Set<Endpoint>
  /** The answer of the attempt before, which may turn out to be the last. */
  previous: Response | undefined
}

const idempotentMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])
const CLOSE_MS = 5000
/** How long requests to an instance that left the set may still run. */
const RETIRE_MS = 60_000
/** A body up to this size is read to its end to keep the connection; a larger one is cut. */
const DRAIN_BYTES = 65_536

export class PooledServiceClient implements ServiceClient {
  readonly #service: string
  readonly #watch: ServiceWatch
  readonly #policy: Policy
  readonly #balance: Balancer
  readonly #outbound: readonly OutboundHook[]
  readonly #unsubscribe: () => void
  /** Endpoints that left the set and still finish requests. */
  readonly #retired = new Set<Endpoint>()
  readonly #onClose: (client: ServiceClient) => void
  #endpoints: readonly Endpoint[] = []
  #closing: Promise<void> | undefined

  constructor(service: string, watch: ServiceWatch, options: ServiceClientOptions, onClose: (client: ServiceClient) => void) {
    onlyKnown('client', options, ['policy', 'balancer', 'outbound'])
    const { balancer = 'p2c-ewma', outbound = [] } = options
    if (!Object.hasOwn(balancers, balancer)) throw invalidOption('balancer', `must be one of ${Object.keys(balancers).join(', ')}`)
    if (!Array.isArray(outbound) || outbound.some((hook) => typeof hook !== 'function'))
      throw invalidOption('outbound', 'must be a list of functions')
    this.#service = service
    this.#watch = watch
    this.#policy = createPolicy(clientPolicy(service, options.policy))
    this.#balance = balancers[balancer]()
    this.#outbound = outbound
    this.#onClose = onClose
    this.#unsubscribe = watch.subscribe((instances) => this.#follow(instances))
  }

  async fetch(path: string, { idempotent, signal, ...init }: ServiceRequestInit = {}): Promise<Response> {
    if (this.#closing !== undefined) throw new DiscoveryError('ERR_DISCOVERY_CLOSED', 'the client is closed', { service: this.#service })
    if (!path.startsWith('/')) throw invalidOption('path', 'must begin with /')
    if (init.redirect === 'follow') throw invalidOption('redirect', "must be 'manual' or 'error': a redirect may lead to another service")
    const method = (init.method ?? 'GET').toUpperCase()
    const headers = Object.fromEntries(new Headers(init.headers))
    const request: Request = { path, method, headers, init, signal: signal ?? undefined, tried: new Set(), previous: undefined }
    try {
      return await this.#policy.execute((attempt) => this.#attempt(request, attempt), {
        signal: request.signal,
        idempotent: idempotent ?? (idempotentMethods.has(method) || 'idempotency-key' in headers),
        retry: isReplayable(init.body),
      })
    } catch (error) {
      release(request.previous)
      throw error
    }
  }

  explain(): readonly InstanceExplanation[] {
    const now = performance.now()
    const total = this.#endpoints.reduce((sum, endpoint) => sum + endpoint.picks, 0)
    const left = usable(this.#endpoints, now)
    return this.#endpoints.map((endpoint) => {
      const ejectedMs = endpoint.ejectedUntil - now
      return {
        instance: endpoint.instance,
        share: total === 0 ? 0 : endpoint.picks / total,
        ewmaMs: endpoint.ewmaMs(now),
        ...(ejectedMs > 0 ? { ejectedUntilMs: ejectedMs } : {}),
        reason: reasonFor(endpoint, left.includes(endpoint), now),
      }
    })
  }

  async ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const instances = await this.#watch.known(signal)
    if (instances.length === 0) throw this.#noInstance(undefined)
  }

  close({ timeoutMs = CLOSE_MS }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closing ??= (async () => {
      this.#unsubscribe()
      const closing = this.#endpoints.map((endpoint) => endpoint.close(timeoutMs))
      for (const endpoint of this.#retired) closing.push(endpoint.close(timeoutMs))
      await Promise.all(closing)
      this.#onClose(this)
    })()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #follow(instances: readonly Instance[]): void {
    const now = performance.now()
    const known = new Map(this.#endpoints.map((endpoint) => [instanceKey(endpoint.instance), endpoint]))
    // A newcomer starts in the middle: at 0 it would draw everything at once.
    const middle = median(this.#endpoints.map((endpoint) => endpoint.ewmaMs(now))) ?? 1
    this.#endpoints = instances.map((instance) => {
      const key = instanceKey(instance)
      const endpoint = known.get(key) ?? new Endpoint(instance, middle)
      known.delete(key)
      endpoint.instance = instance
      return endpoint
    })
    for (const gone of known.values()) this.#retire(gone)
  }

  #retire(endpoint: Endpoint): void {
    this.#retired.add(endpoint)
    void endpoint.close(RETIRE_MS).then(() => this.#retired.delete(endpoint))
  }

  async #attempt(request: Request, attempt: Attempt): Promise<Response> {
    release(request.previous)
    request.previous = undefined
    const { signal } = attempt
    if (this.#watch.instances === undefined) await this.#firstInstances(signal)
    const endpoint = this.#pick(request.tried)
    const url = endpoint.origin + request.path
    const telemetry = new RequestTelemetry(request.method, url, endpoint.instance, attempt.attempt)
    const startedAt = performance.now()
    endpoint.inFlight++
    try {
      const response = await this.#send(endpoint, url, request, signal, telemetry)
      const elapsedMs = performance.now() - startedAt
      telemetry.answered(response.status, elapsedMs)
      this.#record(endpoint, response.status >= 500, elapsedMs)
      request.previous = response
      return response
    } catch (error) {
      const elapsedMs = performance.now() - startedAt
      telemetry.failed(error, elapsedMs)
      if (!request.signal?.aborted) this.#record(endpoint, true, elapsedMs)
      throw error
    } finally {
      endpoint.inFlight--
    }
  }

  async #send(
    endpoint: Endpoint,
    url: string,
    request: Request,
    attemptSignal: AbortSignal,
    telemetry: RequestTelemetry,
  ): Promise<Response> {
    const headers = { ...request.headers }
    context.with(trace.setSpan(context.active(), telemetry.span), () => {
      for (const hook of this.#outbound) hook(headers)
    })
    // The attempt's signal ends with the attempt; the caller's also ends the reading of the body.
    const signal = request.signal === undefined ? attemptSignal : AbortSignal.any([attemptSignal, request.signal])
    const response = await undiciFetch(url, {
      ...(request.init as object),
      method: request.method,
      headers,
      body: toUndiciBody(request.init.body),
      redirect: request.init.redirect ?? 'manual',
      duplex: 'half',
      signal,
      dispatcher: endpoint.pool,
    } as UndiciRequestInit)
    return response as unknown as Response
  }

  async #firstInstances(signal: AbortSignal): Promise<void> {
    try {
      await this.#watch.known(signal)
    } catch (error) {
      throw signal.aborted ? error : this.#noInstance(error)
    }
  }

  /** An instance that this request has not tried, as long as there is one. */
  #pick(tried: Set<Endpoint>): Endpoint {
    const now = performance.now()
    const all = usable(this.#endpoints, now)
    if (all.length === 0) throw this.#noInstance(undefined)
    const untried = tried.size === 0 ? all : all.filter((endpoint) => !tried.has(endpoint))
    const endpoint = this.#balance(untried.length > 0 ? untried : all, now)
    tried.add(endpoint)
    endpoint.picks++
    return endpoint
  }

  #record(endpoint: Endpoint, failed: boolean, latencyMs: number): void {
    if (!failed) return endpoint.succeeded(latencyMs)
    endpoint.failed(latencyMs)
    if (ejectIfFailing(endpoint, this.#endpoints, performance.now())) instruments().ejections.add(1, { service: this.#service })
  }

  #noInstance(cause: unknown): DiscoveryError {
    return new DiscoveryError('ERR_DISCOVERY_NO_INSTANCE', `no instance of ${this.#service} is known`, { service: this.#service, cause })
  }
}

/** Gives back the connection of an answer that nobody will read. */
function release(response: Response | undefined): void {
  if (response?.body == null || response.bodyUsed) return
  const length = Number(response.headers.get('content-length') ?? Number.NaN)
  const done: Promise<unknown> = length <= DRAIN_BYTES ? response.arrayBuffer() : response.body.cancel()
  done.catch(() => {})
}

function reasonFor(endpoint: Endpoint, isUsable: boolean, now: number): string {
  if (endpoint.ejectedUntil > now) return isUsable ? 'ejected, used because too few are left' : 'ejected after failures in a row'
  if (endpoint.failuresInRow > 0) return `failures in a row: ${endpoint.failuresInRow}`
  return 'in use'
}

function median(values: number[]): number | undefined {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
}
