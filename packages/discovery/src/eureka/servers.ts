import { Agent, request } from 'undici'
import { type Credential, revealCredential } from '../credential.ts'
import { DiscoveryError } from '../errors.ts'

export interface Answer {
  readonly status: number
  readonly body: string
  /** Which server it is from. */
  readonly server: string
}

interface Settings {
  readonly urls: readonly string[]
  readonly authorization: Credential | undefined
  /** How long one server may take. */
  readonly timeoutMs: number
}

interface Asked {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Below the URL of the server. */
  readonly path: string
  readonly json?: unknown
  /** For the error; undefined: of all. */
  readonly service?: string
  readonly signal: AbortSignal
}

/** To one server, however many instances this process registers. */
const CONNECTIONS = 8
/** Longer than the pause between two signs of life. */
const KEEP_ALIVE_MS = 60_000

/** Servers that tell each other everything: one is asked, and the next when it cannot answer. */
export class Servers {
  readonly #settings: Settings
  readonly #agent: Agent
  /** The one that answered last. */
  #current = 0

  constructor(settings: Settings) {
    const { timeoutMs } = settings
    this.#settings = settings
    // The time of each request is limited as a whole.
    const limits = { connectTimeout: timeoutMs, headersTimeout: 0, bodyTimeout: timeoutMs }
    this.#agent = new Agent({ ...limits, connections: CONNECTIONS, keepAliveTimeout: KEEP_ALIVE_MS })
  }

  /** The first answer that is no failure of the server itself. */
  async ask(asked: Asked): Promise<Answer> {
    const { urls } = this.#settings
    const { signal, service } = asked
    const first = this.#current
    let failure: unknown
    for (let turn = 0; turn < urls.length; turn++) {
      const index = (first + turn) % urls.length
      try {
        const answer = await this.#askOne(urls[index]!, asked)
        if (answer.status < 500 && answer.status !== 408 && answer.status !== 429) {
          this.#current = index
          return answer
        }
        failure = refusal(answer, service)
      } catch (error) {
        failure = error
      }
      // Whoever comes next, perhaps after this one has run out of time, begins elsewhere.
      this.#current = (index + 1) % urls.length
      if (signal.aborted) break
    }
    if (DiscoveryError.isInstance(failure)) throw failure
    throw new DiscoveryError('ERR_DISCOVERY_UNAVAILABLE', 'no Eureka server answers', { service, cause: failure })
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  async #askOne(server: string, { method, path, json, signal }: Asked): Promise<Answer> {
    const { authorization, timeoutMs } = this.#settings
    const headers: Record<string, string> = { accept: 'application/json' }
    if (authorization !== undefined) headers['authorization'] = await revealCredential(authorization)
    if (json !== undefined) headers['content-type'] = 'application/json'
    const { statusCode, body } = await request(server + path, {
      dispatcher: this.#agent,
      method,
      headers,
      body: json === undefined ? null : JSON.stringify(json),
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    })
    return { status: statusCode, body: await body.text(), server }
  }
}

export function refusal({ status, body }: Answer, service?: string): DiscoveryError {
  const isFinal = status >= 400 && status < 500 && status !== 408 && status !== 429
  const code = isFinal ? 'ERR_DISCOVERY_REFUSED' : 'ERR_DISCOVERY_UNAVAILABLE'
  return new DiscoveryError(code, `Eureka answered ${status}: ${body.slice(0, 200)}`, { service, status })
}
