import { backgroundPause } from '@platform/kernel'
import type { ConsumeMessage } from 'amqplib'
import type { Lease, Receive } from '../../driver.ts'
import type { LoggerLike } from '../../shapes.ts'
import { Generation } from './generation.ts'
import type { Link } from './link.ts'
import { trialQueue } from './names.ts'
import type { Settlement } from './settle.ts'
import { queueCounts } from './topology.ts'
import type { GivenBack } from './tries.ts'
import { earlierDeliveries, factsOf, fromWire } from './wire.ts'

/** For what a member left behind that died in a trial. */
const lookIntervalMs = 5_000
/** After a look that failed. */
const againMs = 500

/**
 * Messages whose earlier try did not end. Each is fetched only at the moment when it may run, and runs alone in this process: so the trial
 * queue's own count of deliveries says how many tries ended their process, and a message is convicted by its own deeds only.
 */
export class Trials {
  readonly #queue: string
  readonly #receive: Receive
  readonly #link: Link
  readonly #settlement: Settlement
  readonly #givenBack: GivenBack
  readonly #alone: <T>(work: () => Promise<T>) => Promise<T>
  readonly #logger: LoggerLike
  readonly #stop = new AbortController()
  readonly #loop: Promise<void>
  #side: Generation | undefined
  #failed = false
  /** The answer with a message was lost with its channel: that delivery was nobody's end. */
  #unheard = false
  #wake: AbortController = new AbortController()

  constructor(
    queue: string,
    receive: Receive,
    parts: {
      link: Link
      settlement: Settlement
      givenBack: GivenBack
      logger: LoggerLike
      alone: <T>(work: () => Promise<T>) => Promise<T>
    },
  ) {
    this.#queue = queue
    this.#receive = receive
    this.#link = parts.link
    this.#settlement = parts.settlement
    this.#givenBack = parts.givenBack
    this.#alone = parts.alone
    this.#logger = parts.logger
    this.#loop = this.#run()
  }

  /** Something was set apart just now. */
  look(): void {
    this.#wake.abort()
  }

  stop(): void {
    this.#stop.abort()
    this.#wake.abort()
  }

  async close(): Promise<void> {
    this.stop()
    await this.#side?.close()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      this.#wake = new AbortController()
      let waitMs = lookIntervalMs
      try {
        const name = trialQueue(this.#queue)
        const waiting = await queueCounts(this.#link, name, signal)
        while ((waiting?.messages ?? 0) > 0 && !signal.aborted) if (!(await this.#alone(() => this.#tryNext(name)))) break
      } catch (error) {
        if (!signal.aborted) this.#logger.debug({ err: error, queue: this.#queue }, 'messages set apart cannot be looked at; trying again')
        waitMs = againMs
      }
      await backgroundPause(waitMs * (0.8 + Math.random() * 0.4), this.#wake.signal)
    }
  }

  async #tryNext(name: string): Promise<boolean> {
    if (this.#stop.signal.aborted) return false
    if (this.#side?.alive !== true) {
      this.#side = new Generation(await this.#link.open((connection) => connection.createChannel(), this.#stop.signal))
    }
    const side = this.#side
    const unheard = this.#unheard
    this.#unheard = true
    const message = await side.get(name)
    this.#unheard = false
    if (message === undefined) return false
    this.#failed = false
    await this.#receive(this.#lease(message, side, unheard ? 1 : 0))
    // What could not be settled is not tried again at once.
    return !this.#failed
  }

  #lease(message: ConsumeMessage, generation: Generation, unheard: 0 | 1): Lease {
    const facts = factsOf(message)
    const deliveries = earlierDeliveries(message)
    const name = `${trialQueue(this.#queue)} ${String(message.properties.messageId)}`
    // A connection that broke under a process that lives convicts nobody.
    const known = deliveries === 0 ? facts : this.#givenBack.recall(name, deliveries)
    const deaths = deliveries - unheard
    const tries = known ?? { counted: facts.counted + deaths, shown: facts.shown + deaths }
    const delivered = { message, generation }
    const forget = (): void => {
      if (!generation.alive) return
      this.#givenBack.remember(name, deliveries, { counted: tries.counted, shown: tries.shown + 1 })
      generation.requeue(message)
    }
    generation.signal.addEventListener(
      'abort',
      () => this.#givenBack.remember(name, deliveries, { counted: tries.counted, shown: tries.shown + 1 }),
      { once: true },
    )
    const settled = async (work: Promise<void>): Promise<void> => {
      try {
        await work
      } catch (error) {
        this.#failed = true
        forget()
        throw error
      }
    }
    const bury = async (reason: string): Promise<void> => {
      await this.#settlement.bury(delivered, reason, tries, facts.replays)
      generation.ack(message)
    }
    return {
      envelope: fromWire(message),
      attempt: tries.shown + 1,
      begun: tries.counted,
      alone: true,
      signal: generation.signal,
      ack: () => settled((async () => generation.ack(message))()),
      retry: (delayMs) => settled(this.#settlement.retry(delivered, delayMs, { counted: tries.counted + 1, shown: tries.shown + 1 })),
      deadLetter: (reason) => settled(bury(reason)),
      // A copy with what is known: the queue would count this try as a death.
      release: () =>
        settled(
          this.#settlement.moveTo(trialQueue(this.#queue), delivered, {
            counted: tries.counted,
            shown: tries.shown + 1,
            replays: facts.replays,
          }),
        ),
    }
  }
}
