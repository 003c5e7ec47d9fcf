import { backgroundInterval, durationOption, knownOptions } from '@platform/kernel'
import type { CheckReport } from './check.ts'
import { messages } from './check.ts'
import { HealthError } from './errors.ts'

/** A loop that says it is alive. */
export interface Heartbeat {
  /** It is. */
  beat(): void
  /** The loop ended as it should. */
  end(): void
}

const tickMs = 250

const refuse = (option: string, problem: string): HealthError => new HealthError('ERR_HEALTH_OPTION', `heartbeat: ${option} ${problem}`)

/**
 * Loops that must go on for the process to be of use. Their age is counted in time that this process ran: after a stall of its own all would
 * look dead at once.
 */
export class Heartbeats {
  readonly #loops = new Map<object, { readonly name: string; readonly withinMs: number; lastAt: number }>()
  #ranMs = 0
  #tickedAt = performance.now()
  #timer: NodeJS.Timeout | undefined

  add(name: string, options: { withinMs: number }): Heartbeat {
    knownOptions(refuse, '', options, ['withinMs'])
    const withinMs = durationOption(refuse, 'withinMs', options.withinMs, 100)
    this.#timer ??= backgroundInterval(() => this.#tick(), tickMs)
    const loop = { name, withinMs, lastAt: this.#now() }
    this.#loops.set(loop, loop)
    return {
      beat: () => void (loop.lastAt = this.#now()),
      end: () => void this.#loops.delete(loop),
    }
  }

  /** Of loops of the same name the one that is worst off. */
  reports(): Record<string, CheckReport> {
    const now = this.#now()
    const found = new Map<string, CheckReport>()
    for (const { name, withinMs, lastAt } of this.#loops.values()) {
      const ageMs = Math.round(now - lastAt)
      const report: CheckReport = ageMs > withinMs ? { status: 'fail', ageMs, message: messages.silent } : { status: 'pass', ageMs }
      if (found.get(name)?.status !== 'fail') found.set(name, report)
    }
    return Object.fromEntries(found)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#loops.clear()
  }

  #tick(): void {
    this.#ranMs = this.#now()
    this.#tickedAt = performance.now()
  }

  /** A tick that comes late is a stall, and time that no loop could use. */
  #now(): number {
    return this.#ranMs + Math.min(performance.now() - this.#tickedAt, tickMs * 2)
  }
}
