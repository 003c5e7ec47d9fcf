import type { Socket } from 'node:net'

/** Above it the sender is no longer read. */
const highWaterBytes = 1_048_576

/** One direction of a proxied connection: keeps order, holds data back while silent or delayed. */
export class ProxiedFlow {
  readonly #from: Socket
  readonly #to: Socket
  /** A piece without data is the end of the stream. */
  #pieces: { dueAt: number; data: Buffer | undefined }[] = []
  #bytes = 0
  #silent = false
  #delayMs = 0
  #timer: NodeJS.Timeout | undefined

  constructor(from: Socket, to: Socket) {
    this.#from = from
    this.#to = to
    from.on('data', (data) => this.#push(data as Buffer))
    from.on('end', () => this.#push(undefined))
    to.on('drain', () => this.#pump())
    to.on('connect', () => this.#pump())
  }

  set(silent: boolean, delayMs: number): void {
    this.#silent = silent
    if (delayMs < this.#delayMs) for (const piece of this.#pieces) piece.dueAt = Math.min(piece.dueAt, performance.now() + delayMs)
    this.#delayMs = delayMs
    this.#pump()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#pieces = []
  }

  #push(data: Buffer | undefined): void {
    const lastDueAt = this.#pieces.at(-1)?.dueAt ?? 0
    this.#pieces.push({ dueAt: Math.max(performance.now() + this.#delayMs, lastDueAt), data })
    this.#bytes += data?.length ?? 0
    this.#pump()
  }

  #pump(): void {
    clearTimeout(this.#timer)
    while (!this.#silent && !this.#to.destroyed && !this.#to.writableNeedDrain) {
      const [next] = this.#pieces
      if (!next) break
      const waitMs = next.dueAt - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#pump(), Math.ceil(waitMs))
        break
      }
      this.#pieces.shift()
      this.#bytes -= next.data?.length ?? 0
      if (next.data) this.#to.write(next.data)
      else this.#to.end()
    }
    if (this.#bytes > highWaterBytes) this.#from.pause()
    else if (this.#from.isPaused()) this.#from.resume()
  }
}
