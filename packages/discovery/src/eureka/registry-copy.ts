import { backgroundPause, orAborted } from '@platform/kernel'
import { Applications, type ApplicationsAnswer } from './applications.ts'
import { type Answer, refusal, type Servers } from './servers.ts'

/** A hash of counts does not show that one entry took the place of another: all are asked for after so many deltas. */
const DELTAS_BETWEEN_WHOLES = 10
/** A round that failed is repeated after so long at the earliest, however many services wait for it. */
const RETRY_MS = 1000

type Round = { readonly applications: Applications } | { readonly failure: unknown }

/** One copy of everything that the servers know, brought up to date in rounds which all watched services share. */
export class RegistryCopy {
  readonly #servers: Servers
  readonly #intervalMs: number
  readonly #closing = new AbortController()
  /** Of the round that ended last. */
  #last: Round | undefined
  #endedAt = Number.NEGATIVE_INFINITY
  #number = 0
  #running: Promise<Round> | undefined
  /** Who told what is known, and how many deltas ago it was told whole. */
  #server: string | undefined
  #deltas = 0

  constructor(servers: Servers, intervalMs: number) {
    this.#servers = servers
    this.#intervalMs = intervalMs
  }

  /** What is known, once it is of another round than `after`; undefined: as soon as it is fresh. */
  async newer(after: number | undefined, signal: AbortSignal): Promise<{ applications: Applications; round: number }> {
    const isNews = this.#last !== undefined && 'applications' in this.#last && after !== this.#number
    if (!isNews || this.#isDue()) await this.#nextRound(signal)
    const last = this.#last!
    if ('failure' in last) throw last.failure
    return { applications: last.applications, round: this.#number }
  }

  close(): void {
    this.#closing.abort()
  }

  async #nextRound(signal: AbortSignal): Promise<void> {
    if (this.#last !== undefined) await backgroundPause(this.#dueAt() - performance.now(), signal)
    signal.throwIfAborted()
    // Another service may have had it meanwhile.
    if (this.#isDue()) await orAborted((this.#running ??= this.#round()), signal)
    signal.throwIfAborted()
  }

  #isDue(): boolean {
    return this.#last === undefined || performance.now() >= this.#dueAt()
  }

  #dueAt(): number {
    const failed = this.#last !== undefined && 'failure' in this.#last
    return this.#endedAt + (failed ? Math.min(RETRY_MS, this.#intervalMs) : this.#intervalMs)
  }

  async #round(): Promise<Round> {
    let round: Round
    try {
      round = { applications: await this.#fetch() }
    } catch (failure) {
      round = { failure }
    }
    this.#last = round
    this.#endedAt = performance.now()
    this.#number++
    this.#running = undefined
    return round
  }

  async #fetch(): Promise<Applications> {
    const known = this.#last !== undefined && 'applications' in this.#last ? this.#last.applications : undefined
    if (known !== undefined && this.#deltas < DELTAS_BETWEEN_WHOLES) {
      const delta = await this.#ask('/apps/delta')
      // Another server may have other changes; servers may be told to give no deltas.
      const next = delta.status === 200 && delta.server === this.#server ? known.with(parse(delta)) : undefined
      if (next !== undefined) {
        this.#deltas++
        return next
      }
    }
    const whole = await this.#ask('/apps')
    if (whole.status !== 200) throw refusal(whole)
    const applications = Applications.of(parse(whole))
    this.#server = whole.server
    this.#deltas = 0
    return applications
  }

  #ask(path: string): Promise<Answer> {
    return this.#servers.ask({ method: 'GET', path, signal: this.#closing.signal })
  }
}

function parse({ body }: Answer): ApplicationsAnswer {
  const answer = JSON.parse(body) as ApplicationsAnswer | null
  if (typeof answer?.applications !== 'object' || answer.applications === null) throw new Error('Eureka told no applications')
  return answer
}
