import type { Socket } from 'node:net'

/** Above it the sender is no longer read. */
const highWaterBytes = 1_048_576

/** What is wrong with one direction. */
export interface Fault {
  silent: boolean
  delayMs: number
  /** Bytes a second; Infinity: as fast as it goes. */
  rate: number
  /** Bytes of one write at most. */
  pieceBytes: number
}

export const noFault: Fault = { silent: false, delayMs: 0, rate: Infinity, pieceBytes: Infinity }

/** One direction of a proxied connection: keeps order, holds data back while silent or delayed, lets it trickle. */
export class ProxiedFlow {
  readonly #from: Socket
  readonly #to: Socket
  readonly #onTorn: () => void
  /** A piece without data is the end of the stream. */
  #pieces: { dueAt: number; data: Buffer | undefined }[] = []
  #bytes = 0
  #fault: Fault = noFault
  /** Bytes that still pass before the connection tears. */
  #budget = Infinity
  /** When the next byte may pass at the rate. */
  #nextAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(from: Socket, to: Socket, onTorn: () => void) {
    this.#from = from
    this.#to = to
    this.#onTorn = onTorn
    from.on('data', (data) => this.#push(data as Buffer))
    from.on('end', () => this.#push(undefined))
    to.on('drain', () => this.#pump())
    to.on('connect', () => this.#pump())
  }

  set(fault: Fault): void {
    const latest = performance.now() + fault.delayMs
    if (fault.delayMs < this.#fault.delayMs) for (const piece of this.#pieces) piece.dueAt = Math.min(piece.dueAt, latest)
    if (fault.rate !== this.#fault.rate) this.#nextAt = 0
    this.#fault = fault
    this.#pump()
  }

  tearAfter(bytes: number): void {
    this.#budget = bytes
    this.#pump()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#pieces = []
  }

  #push(data: Buffer | undefined): void {
    const lastDueAt = this.#pieces.at(-1)?.dueAt ?? 0
    this.#pieces.push({ dueAt: Math.max(performance.now() + this.#fault.delayMs, lastDueAt), data })
    this.#bytes += data?.length ?? 0
    this.#pump()
  }

  #pump(): void {
    clearTimeout(this.#timer)
    while (!this.#fault.silent && !this.#to.destroyed && !this.#to.connecting && !this.#to.writableNeedDrain) {
      if (this.#budget === 0) return this.#onTorn()
      const [next] = this.#pieces
      if (!next) break
      const waitMs = Math.max(next.dueAt, this.#nextAt) - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#pump(), Math.ceil(waitMs))
        break
      }
      if (next.data) this.#pass(next.data)
      else {
        this.#pieces.shift()
        this.#to.end()
      }
    }
    if (this.#bytes > highWaterBytes) this.#from.pause()
    else if (this.#from.isPaused()) this.#from.resume()
  }

  /** Writes as much of the first piece as the faults allow. */
  #pass(data: Buffer): void {
    const { rate, pieceBytes } = this.#fault
    const share = rate === Infinity ? Infinity : Math.max(1, Math.floor(rate / 20))
    const size = Math.min(data.length, pieceBytes, share, this.#budget)
    if (size === data.length) this.#pieces.shift()
    else this.#pieces[0]!.data = data.subarray(size)
    this.#bytes -= size
    this.#budget -= size
    if (rate !== Infinity) this.#nextAt = Math.max(performance.now(), this.#nextAt) + (size / rate) * 1000
    this.#to.write(data.subarray(0, size))
    // Small writes would be joined again on the way; the next one follows on another turn of the loop.
    if (pieceBytes !== Infinity) this.#nextAt = Math.max(this.#nextAt, performance.now() + 1)
  }
}
