import { backgroundPause, durationOption, knownOptions } from '@platform/kernel'
import type { Endpoint } from './endpoint.ts'
import { refuseOption as refuse } from './errors.ts'
import { DRAINING_HEADER, isMisdirected, type LeavingCause, SERVICE_HEADER } from './response-signals.ts'

export interface ProbeOptions {
  /** Asked by GET, such as `/ready`; a status from 200 to 399 is well. */
  path: string
  /** Each instance is asked once in this time, at least 100. Default 5000. */
  intervalMs?: number | undefined
  /** At most `intervalMs`. Default 1000. */
  timeoutMs?: number | undefined
}

export type ResolvedProbe = { [name in keyof ProbeOptions]-?: NonNullable<ProbeOptions[name]> }

/** What one probe found; `busy` is nobody's fault: this process was too late to look. */
export type ProbeResult = 'well' | LeavingCause | 'failed' | 'busy'

/** A timer that fires later than this was held up by this process. */
const LATE_MS = 50

export function resolveProbe(options: ProbeOptions): ResolvedProbe {
  knownOptions(refuse, 'probe', options, ['path', 'intervalMs', 'timeoutMs'])
  const { path, intervalMs = 5000, timeoutMs = Math.min(1000, intervalMs) } = options
  if (typeof path !== 'string' || !path.startsWith('/')) throw refuse('probe.path', 'must begin with /')
  durationOption(refuse, 'probe.intervalMs', intervalMs, 100)
  return { path, intervalMs, timeoutMs: durationOption(refuse, 'probe.timeoutMs', timeoutMs, 1, intervalMs) }
}

/** Asks one instance after the other, evenly spread over the interval, for as long as it is open. */
export class Probes {
  readonly #options: ResolvedProbe
  readonly #service: string
  readonly #all: () => readonly Endpoint[]
  readonly #onResult: (endpoint: Endpoint, result: ProbeResult) => void
  readonly #closing = new AbortController()

  constructor(
    options: ResolvedProbe,
    service: string,
    all: () => readonly Endpoint[],
    onResult: (endpoint: Endpoint, result: ProbeResult) => void,
  ) {
    this.#options = options
    this.#service = service
    this.#all = all
    this.#onResult = onResult
    void this.#run(this.#closing.signal)
  }

  close(): void {
    this.#closing.abort()
  }

  async #run(closing: AbortSignal): Promise<void> {
    const { intervalMs } = this.#options
    while (!closing.aborted) {
      const round = this.#all()
      if (round.length === 0) await backgroundPause(intervalMs, closing)
      for (const endpoint of round) {
        // Many clients do not ask in step.
        await backgroundPause((intervalMs / round.length) * (0.5 + Math.random()), closing)
        if (closing.aborted) return
        if (this.#all().includes(endpoint)) void this.#probe(endpoint)
      }
    }
  }

  async #probe(endpoint: Endpoint): Promise<void> {
    const { path, timeoutMs } = this.#options
    const startedAt = performance.now()
    let result: ProbeResult = 'failed'
    try {
      const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(timeoutMs)])
      const { statusCode, headers, body } = await endpoint.pool.request({
        method: 'GET',
        path,
        headers: { [SERVICE_HEADER]: this.#service },
        signal,
      })
      await body.dump()
      if (isMisdirected({ status: statusCode })) result = 'another service answers there'
      else if (statusCode >= 200 && statusCode < 400) result = headers[DRAINING_HEADER] === '1' ? 'draining' : 'well'
    } catch {
      if (performance.now() - startedAt > timeoutMs + LATE_MS) result = 'busy'
    }
    if (!this.#closing.signal.aborted) this.#onResult(endpoint, result)
  }
}
