export interface Outage {
  /** Since the start of the simulation. */
  fromMs: number
  toMs: number
  /** 'fail' (default): answers with an error in the usual time. 'hang': never answers. 'slow': answers after `latencyMs`. */
  kind?: 'fail' | 'hang' | 'slow' | undefined
  /** Part of the calls that is hit. Default 1. */
  ratio?: number | undefined
  /** Mean time to an answer during the outage. Default: the usual. */
  latencyMs?: number | undefined
}

export interface ModelledDownstream {
  /** Mean time to an answer: half of it fixed, half exponential. */
  latencyMs: number
  /** Calls it works on at once; others wait there in line, also when their caller has gone. Default: any number. */
  capacity?: number | undefined
  outages?: readonly Outage[] | undefined
}

export class DownstreamError extends Error {
  override readonly name = 'DownstreamError'
}

/** Runs on the virtual clock. */
export class Downstream {
  readonly #model: ModelledDownstream
  readonly #elapsedMs: () => number
  readonly #line: (() => void)[] = []
  #working = 0

  constructor(model: ModelledDownstream, elapsedMs: () => number) {
    this.#model = model
    this.#elapsedMs = elapsedMs
  }

  call(signal: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
      const work = (): void => {
        this.#working++
        const outage = this.#outage()
        const latencyMs = outage?.latencyMs ?? this.#model.latencyMs
        const done = (): void => {
          this.#working--
          this.#line.shift()?.()
        }
        if (outage?.kind === 'hang') {
          signal.addEventListener('abort', done)
          return
        }
        const fails = outage !== undefined && outage.kind !== 'slow'
        setTimeout(
          () => {
            done()
            if (fails) reject(new DownstreamError('the modelled downstream is down'))
            else resolve(200)
          },
          latencyMs * (0.5 - 0.5 * Math.log(1 - Math.random())),
        )
      }
      if (this.#working < (this.#model.capacity ?? Number.POSITIVE_INFINITY)) work()
      else this.#line.push(work)
    })
  }

  #outage(): Outage | undefined {
    const now = this.#elapsedMs()
    return this.#model.outages?.find(({ fromMs, toMs, ratio = 1 }) => now >= fromMs && now < toMs && Math.random() < ratio)
  }
}
