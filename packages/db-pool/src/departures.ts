import type { Session } from './session.ts'

/** Connections on their way out. The place of one is taken until its socket is closed and its server process has ended. */
export class Departures {
  readonly #processEnds: (session: Session) => Promise<void> | undefined
  readonly #onGone: () => void
  readonly #leaving = new Set<Promise<void>>()

  /** `processEnds`: undefined where it ends with the socket, or is nobody's concern. */
  constructor(processEnds: (session: Session) => Promise<void> | undefined, onGone: () => void) {
    this.#processEnds = processEnds
    this.#onGone = onGone
  }

  get size(): number {
    return this.#leaving.size
  }

  add(session: Session, closed: Promise<void>): void {
    const ends = this.#processEnds(session)
    const gone = ends === undefined ? closed : Promise.all([closed, ends]).then(() => {})
    this.#leaving.add(gone)
    void gone.then(() => {
      this.#leaving.delete(gone)
      this.#onGone()
    })
  }

  async allGone(): Promise<void> {
    while (this.#leaving.size > 0) await Promise.all(this.#leaving)
  }
}
