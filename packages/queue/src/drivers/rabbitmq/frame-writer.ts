import type { ConfirmChannel } from 'amqplib'
import type { Writable } from 'node:stream'
import { boundOf, writePublish } from './publish-frames.ts'
import type { Target, WireMessage } from './wire.ts'

/** What of the client's own is used, where it is as it was in all versions that we know. */
interface Internals {
  readonly ch: number
  readonly connection: { readonly stream: Writable; readonly frameMax: number; sendBytes(bytes: Buffer): void }
  pushConfirmCallback(confirmed: (error: unknown) => void): void
}

const chunkBytes = 65_536

/**
 * Publishes on a channel of the client, past its encoder, which makes six buffers of each message and passes them through two streams. The frames of
 * one turn of the event loop are written one behind the other and leave as one piece.
 */
export class FrameWriter {
  readonly #internals: Internals
  #chunk = Buffer.alloc(0)
  /** What is before this has left. */
  #from = 0
  #to = 0
  #drained: () => void = () => {}

  /** `undefined` where the client is another than we know: then its own `publish` has to do. */
  static of(channel: ConfirmChannel): FrameWriter | undefined {
    const { ch, connection, pushConfirmCallback } = channel as unknown as Partial<Internals>
    const known =
      typeof ch === 'number' &&
      typeof pushConfirmCallback === 'function' &&
      typeof connection?.sendBytes === 'function' &&
      typeof connection.stream?.write === 'function' &&
      Number.isSafeInteger(connection.frameMax) &&
      connection.frameMax >= 4_096
    return known ? new FrameWriter(channel as unknown as Internals) : undefined
  }

  private constructor(internals: Internals) {
    this.#internals = internals
  }

  /** Calls `drained` whenever the socket takes more after it was full, until `end`. */
  onDrain(drained: () => void): void {
    this.#drained = drained
    this.#internals.connection.stream.on('drain', drained)
  }

  /** As the client's: false when the socket is full. Nothing is sent and no confirm is awaited when it throws. */
  publish(target: Target, message: WireMessage, confirmed: (error: unknown) => void): boolean {
    const { ch: channel, connection } = this.#internals
    const { frameMax, stream } = connection
    const bound = boundOf(target, message, frameMax)
    if (this.#chunk.length - this.#to < bound) {
      this.#flush()
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(chunkBytes, bound))
      this.#from = this.#to = 0
    }
    const end = writePublish(this.#chunk, this.#to, { channel, frameMax, target, message })
    if (this.#from === this.#to) process.nextTick(this.#flush)
    this.#to = end
    this.#internals.pushConfirmCallback(confirmed)
    return !stream.writableNeedDrain
  }

  /** The channel has ended: what has not left never does. */
  end(): void {
    this.#from = this.#to
    this.#internals.connection.stream.off('drain', this.#drained)
  }

  readonly #flush = (): void => {
    if (this.#from === this.#to) return
    const frames = this.#chunk.subarray(this.#from, this.#to)
    this.#from = this.#to
    this.#internals.connection.sendBytes(frames)
  }
}
