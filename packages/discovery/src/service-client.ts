import { context, trace } from '@opentelemetry/api'
import { choiceOption, integerOption, knownOptions, orAborted } from '@platform/kernel'
import {
  type Attempt,
  createPolicy,
  deadlineHeaders,
  type Outcome,
  type Policy,
  type PolicyOptions,
  type Verdict,
} from '@platform/resilience'
import { type RequestInit as UndiciRequestInit, fetch as undiciFetch } from 'undici'
import { type BalancerName, balancers } from './balancer.ts'
import { clientPolicy, defaultPolicy } from './client-policy.ts'
import { Ejection, type EjectionOptions, resolveEjection } from './ejection.ts'
import type { Endpoint } from './endpoint.ts'
import { EndpointSet } from './endpoint-set.ts'
import { DiscoveryError, refuseOption } from './errors.ts'
import type { DiscoveryEvents } from './events.ts'
import { instruments, RequestTelemetry } from './instrumentation.ts'
import { type ProbeOptions, Probes, resolveProbe } from './probes.ts'
import type { Instance } from './registry.ts'
import { isRefusedRequest, OurFaults } from './our-fault.ts'
import { isReplayable, toUndiciBody } from './request-body.ts'
import { askedRestMs, isMisdirected, leavingCause, loadOf, SERVICE_HEADER } from './response-signals.ts'
import type { ServiceWatch } from './service-watch.ts'
import { watchedDispatcher } from './watched-dispatcher.ts'

/** Adds headers to an outgoing request, which waits for it. */
export type OutboundHook = (headers: Record<string, string>) => void | Promise<void>

export interface ServiceClientOptions {
  /** Default: `timeoutMs` 10,000, `attemptTimeoutMs` 3000 and up to 3 attempts. What is given replaces the default as a whole. */
  policy?: PolicyOptions | undefined
  /** Default 'p2c-ewma'. */
  balancer?: BalancerName | undefined
  /** Run for each attempt, inside its span, after the headers of deadline and attempt are set. */
  outbound?: readonly OutboundHook[] | undefined
  /** Zone of this caller: instances whose `meta.zone` is the same are asked first, as far as they can take it. Default: zones do not matter. */
  zone?: string | undefined
  /** Requests that one instance may have at once, at least 1. Default: any number. */
  maxConcurrentPerInstance?: number | undefined
  ejection?: EjectionOptions | undefined
  /** Asks instances how they are, beside the requests. Default: it does not. */
  probe?: ProbeOptions | undefined
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
  /** Answers that nobody has been given yet: of attempts that may turn out to be the last, or that a hedge outran. */
  readonly unclaimed: Set<Response>
  /** The answer of the attempt before. */
  previous: Response | undefined
}

/** Whether an attempt ends by what this side does. */
interface Fault {
  isOurs: boolean
}

const known = ['policy', 'balancer', 'outbound', 'zone', 'maxConcurrentPerInstance', 'ejection', 'probe']
const idempotentMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])
const CLOSE_MS = 5000
/** A body up to this size is read to its end to keep the connection; a larger one is cut. */
const DRAIN_BYTES = 65_536
/** Instances at whose addresses others answer, after which an attempt has its answer. */
const MOST_STRANGERS = 3

export class PooledServiceClient implements ServiceClient {
  readonly #service: string
  readonly #watch: ServiceWatch
  readonly #policy: Policy
  readonly #set: EndpointSet
  readonly #outbound: readonly OutboundHook[]
  readonly #probes: Probes | undefined
  readonly #unsubscribe: () => void
  readonly #onClose: (client: ServiceClient) => void
  /** Who gave an answer or an error, for the question whether there is somebody else. */
  readonly #origins = new WeakMap<object, Endpoint>()
  readonly #ourFaults = new OurFaults()
  #closing: Promise<void> | undefined

  constructor(
    service: string,
    watch: ServiceWatch,
    options: ServiceClientOptions,
    events: DiscoveryEvents,
    onClose: (client: ServiceClient) => void,
  ) {
    knownOptions(refuseOption, 'client', options, known)
    const { balancer = 'p2c-ewma', outbound = [], zone, maxConcurrentPerInstance: most } = options
    choiceOption(refuseOption, 'balancer', balancer, Object.keys(balancers))
    if (!Array.isArray(outbound) || outbound.some((hook) => typeof hook !== 'function'))
      throw refuseOption('outbound', 'must be a list of functions')
    if (zone !== undefined && (typeof zone !== 'string' || zone === '')) throw refuseOption('zone', 'must be a non-empty string')
    this.#service = service
    this.#watch = watch
    this.#set = new EndpointSet({
      balancer: balancers[balancer](),
      ejection: new Ejection(resolveEjection(options.ejection)),
      zone,
      maxConcurrent: most === undefined ? Number.POSITIVE_INFINITY : integerOption(refuseOption, 'maxConcurrentPerInstance', most, 1),
      onEjected: (instance, forMs) => {
        instruments().ejections.add(1, { service })
        events.emit({ type: 'instance-ejected', service, instance, forMs })
      },
      onBack: (instance) => events.emit({ type: 'instance-back', service, instance }),
      onMisdirected: (instance) => events.emit({ type: 'instance-misdirected', service, instance }),
    })
    const knowledge = {
      elsewhere: (outcome: Outcome) => this.#hasOther(outcome),
      isOurFault: (error: unknown) => this.#ourFaults.has(error),
    }
    this.#policy = createPolicy(clientPolicy(service, options.policy ?? defaultPolicy, knowledge))
    this.#outbound = outbound
    this.#onClose = onClose
    const probe = options.probe === undefined ? undefined : resolveProbe(options.probe)
    this.#probes =
      probe &&
      new Probes(
        probe,
        service,
        () => this.#set.all,
        (endpoint, result) => this.#set.probed(endpoint, result, probe.intervalMs),
      )
    this.#unsubscribe = watch.subscribe((instances) => this.#set.follow(instances))
  }

  async fetch(path: string, { idempotent, signal, ...init }: ServiceRequestInit = {}): Promise<Response> {
    if (this.#closing !== undefined) throw new DiscoveryError('ERR_DISCOVERY_CLOSED', 'the client is closed', { service: this.#service })
    if (!path.startsWith('/')) throw refuseOption('path', 'must begin with /')
    if (init.redirect === 'follow') throw refuseOption('redirect', "must be 'manual' or 'error': a redirect may lead to another service")
    const method = (init.method ?? 'GET').toUpperCase()
    const headers = Object.fromEntries(new Headers(init.headers))
    const [tried, unclaimed] = [new Set<Endpoint>(), new Set<Response>()]
    const request: Request = { path, method, headers, init, signal: signal ?? undefined, tried, unclaimed, previous: undefined }
    let given: Response | undefined
    try {
      given = await this.#policy.execute((attempt) => this.#attempt(request, attempt), {
        signal: request.signal,
        idempotent: idempotent ?? (idempotentMethods.has(method) || 'idempotency-key' in headers),
        retry: isReplayable(init.body),
      })
      return given
    } finally {
      for (const response of unclaimed) if (response !== given) release(response)
    }
  }

  explain(): readonly InstanceExplanation[] {
    const now = performance.now()
    const endpoints = this.#set.all
    const total = endpoints.reduce((sum, endpoint) => sum + endpoint.picks, 0)
    return endpoints.map((endpoint) => {
      const ejectedMs = endpoint.ejectedUntil - now
      return {
        instance: endpoint.instance,
        share: total === 0 ? 0 : endpoint.picks / total,
        ewmaMs: endpoint.ewmaMs(now),
        ...(ejectedMs > 0 ? { ejectedUntilMs: ejectedMs } : {}),
        reason: this.#set.reasonFor(endpoint),
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
      this.#probes?.close()
      await this.#set.close(timeoutMs)
      this.#policy.dispose()
      this.#onClose(this)
    })()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #attempt(request: Request, attempt: Attempt): Promise<Response> {
    release(request.previous)
    request.previous = undefined
    if (this.#watch.instances === undefined) await this.#firstInstances(attempt.signal)
    let response = await this.#ask(request, attempt)
    // Whoever was asked has done nothing: asking the next is no second attempt, whatever the request.
    for (let strangers = 1; isMisdirected(response) && strangers <= MOST_STRANGERS; strangers++) {
      if (!isReplayable(request.init.body) || !this.#set.hasOther(request.tried)) break
      release(response)
      response = await this.#ask(request, attempt)
    }
    return response
  }

  async #ask(request: Request, attempt: Attempt): Promise<Response> {
    const endpoint = this.#pick(request.tried)
    const url = endpoint.origin + request.path
    const telemetry = new RequestTelemetry(request.method, url, endpoint.instance, attempt.attempt)
    const startedAt = performance.now()
    let response: Response | undefined
    let waited = true
    const fault: Fault = { isOurs: false }
    attempt.onEnded((verdict, tookMs) => {
      waited = response !== undefined
      if (!fault.isOurs) this.#record(endpoint, verdict, tookMs, response)
    })
    const end = endpoint.begin()
    try {
      response = await this.#send(endpoint, url, request, attempt.signal, telemetry, end, fault)
      telemetry.answered(response.status, performance.now() - startedAt)
      this.#origins.set(response, endpoint)
      if (isMisdirected(response)) this.#set.leave(endpoint, leavingCause(response))
      if (waited) request.unclaimed.add(response)
      else release(response)
      request.previous = response
      return response
    } catch (error) {
      end()
      telemetry.failed(error, performance.now() - startedAt)
      fault.isOurs ||= isRefusedRequest(error)
      if (fault.isOurs) this.#ourFaults.add(error)
      else if (typeof error === 'object' && error !== null) this.#origins.set(error, endpoint)
      throw error
    }
  }

  async #send(
    endpoint: Endpoint,
    url: string,
    request: Request,
    attemptSignal: AbortSignal,
    telemetry: RequestTelemetry,
    onEnd: () => void,
    fault: Fault,
  ): Promise<Response> {
    const headers = { ...request.headers, [SERVICE_HEADER]: this.#service }
    deadlineHeaders(headers)
    if (this.#outbound.length > 0) {
      fault.isOurs = true
      const hooks = context.with(trace.setSpan(context.active(), telemetry.span), () => this.#runHooks(headers))
      await orAborted(hooks, attemptSignal)
      fault.isOurs = false
    }
    // The attempt's signal ends with the attempt; the caller's also ends the reading of the body.
    const signal = request.signal === undefined ? attemptSignal : AbortSignal.any([attemptSignal, request.signal])
    const response = await undiciFetch(url, {
      ...(request.init as object),
      method: request.method,
      headers,
      body: toUndiciBody(request.init.body, () => (fault.isOurs = true)),
      redirect: request.init.redirect ?? 'manual',
      duplex: 'half',
      signal,
      dispatcher: watchedDispatcher(endpoint.pool, onEnd),
    } as UndiciRequestInit)
    return response as unknown as Response
  }

  async #runHooks(headers: Record<string, string>): Promise<void> {
    for (const hook of this.#outbound) await hook(headers)
  }

  async #firstInstances(signal: AbortSignal): Promise<void> {
    try {
      await this.#watch.known(signal)
    } catch (error) {
      throw signal.aborted ? error : this.#noInstance(error)
    }
  }

  #pick(tried: Set<Endpoint>): Endpoint {
    if (this.#set.all.length === 0) throw this.#noInstance(undefined)
    const endpoint = this.#set.pick(tried)
    if (endpoint === undefined) {
      const message = `every instance of ${this.#service} has as many requests as one may have`
      throw new DiscoveryError('ERR_DISCOVERY_BUSY', message, { service: this.#service })
    }
    tried.add(endpoint)
    endpoint.picks++
    return endpoint
  }

  #hasOther(outcome: Outcome): boolean {
    const source = outcome.ok ? outcome.value : outcome.error
    const origin = typeof source === 'object' && source !== null ? this.#origins.get(source) : undefined
    return origin !== undefined && this.#set.hasOther(new Set([origin]))
  }

  /** The verdict on the attempt, with what the answer says beyond it. */
  #record(endpoint: Endpoint, verdict: Verdict, tookMs: number, response: Response | undefined): void {
    if (response !== undefined && isMisdirected(response)) return
    if (verdict === 'refused') this.#set.rest(endpoint, askedRestMs(response))
    this.#set.record(endpoint, verdict === 'answered' && response!.status >= 500 ? 'failed' : verdict, tookMs)
    if (response === undefined) return
    this.#set.leave(endpoint, leavingCause(response))
    endpoint.load = loadOf(response)
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
