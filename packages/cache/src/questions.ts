import { equalDeadlines } from '@platform/kernel'
import type { Availability, Standing } from './availability.ts'
import type { PendingNames } from './delivery.ts'
import type { SharedLookup, SharedRead, SharedStore } from './driver.ts'
import { tooLate } from './limited.ts'

/** What hangs on it runs when all that runs now, and is called by it at once, has asked. */
const endOfGo = Promise.resolve()

/** The moment of a question to l2. */
export interface Sent {
  /** The turn that it ended: whoever came in it, or before, may have the answer. */
  readonly turn: number
  /** `performance.now()` */
  readonly at: number
  /** What was on its way to l2. */
  readonly pending: PendingNames
}

/** A look-up that wants to hear what has become of it. One of the two is called, once; when `said` throws, `failed` hears of that. */
export interface Asking extends SharedLookup {
  said(read: SharedRead, sent: Sent): void
  failed(error: unknown): void
}

export interface QuestionsOptions {
  readonly store: SharedStore
  readonly timeoutMs: number
  readonly availability: Availability
  /** A question is about to be sent: the moment. */
  onAsk(at: number): Sent
  /** An answer came after its limit. */
  onLate(lookup: SharedLookup, read: SharedRead): void
}

/** Look-ups in l2. What is asked in one go is one question, whoever asks, and has one limit. */
export class Questions {
  readonly #options: QuestionsOptions
  readonly #beginLimit: ReturnType<typeof equalDeadlines>
  readonly #underWay: Question[] = []
  readonly #sendNext = (): void => this.#send()
  #next: Asking[] = []
  #sendings = 0

  constructor(options: QuestionsOptions) {
    this.#options = options
    this.#beginLimit = equalDeadlines(options.timeoutMs)
  }

  /** Grows when what was asked is sent, or fails to be: until then, what is asked goes along with it. */
  get sendings(): number {
    return this.#sendings
  }

  ask(asking: Asking): void {
    if (this.#next.push(asking) === 1) void endOfGo.then(this.#sendNext)
  }

  /** Who still waits is told at once. */
  close(error: unknown): void {
    for (let last = this.#underWay.at(-1); last; last = this.#underWay.at(-1)) last.fail(error)
  }

  #send(): void {
    const { store, availability, onAsk, onLate, timeoutMs } = this.#options
    const asked = this.#next
    this.#next = []
    this.#sendings++
    let standing: Standing
    try {
      standing = availability.enter()
    } catch (error) {
      for (const each of asked) each.failed(error)
      return
    }
    const sent = onAsk(performance.now())
    const question = new Question(asked, sent, this.#underWay)
    const fail = (error: unknown): void => {
      if (question.isOver) return
      availability.failed(error, standing)
      question.fail(error)
    }
    question.endLimit = this.#beginLimit(() => fail(tooLate(timeoutMs)), sent.at)
    readFrom(store, asked).then((reads) => {
      if (question.isOver) return asked.forEach((lookup, index) => onLate(lookup, reads[index] as SharedRead))
      availability.answered()
      question.answer(reads)
    }, fail)
  }
}

/** A driver of the user's may throw where it should reject. */
function readFrom(store: SharedStore, asked: readonly Asking[]): Promise<SharedRead[]> {
  try {
    return store.read(asked)
  } catch (error) {
    return Promise.reject(error as Error)
  }
}

/** One that is on its way. Knows its place among them, so that leaving costs nothing. */
class Question {
  endLimit: () => void = () => undefined
  readonly #asked: readonly Asking[]
  readonly #sent: Sent
  readonly #all: Question[]
  #place: number

  constructor(asked: readonly Asking[], sent: Sent, all: Question[]) {
    this.#asked = asked
    this.#sent = sent
    this.#all = all
    this.#place = all.push(this) - 1
  }

  get isOver(): boolean {
    return this.#place < 0
  }

  answer(reads: readonly SharedRead[]): void {
    this.#end()
    for (let index = 0; index < this.#asked.length; index++) {
      const each = this.#asked[index] as Asking
      try {
        each.said(reads[index] as SharedRead, this.#sent)
      } catch (error) {
        each.failed(error)
      }
    }
  }

  fail(error: unknown): void {
    this.#end()
    for (const each of this.#asked) each.failed(error)
  }

  #end(): void {
    this.endLimit()
    const last = this.#all.pop() as Question
    if (last !== this) {
      this.#all[this.#place] = last
      last.#place = this.#place
    }
    this.#place = -1
  }
}
