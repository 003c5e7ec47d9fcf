import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { integerOption, knownOptions } from '@platform/kernel'
import { type Body, decode, jsonSerializer, type Serializer } from './codec.ts'
import { wrongOption } from './errors.ts'

export interface CompressionOptions {
  /** Shorter bodies stay as they are. Bytes; default 1024. */
  aboveBytes?: number | undefined
  /** What a body may become when it is taken apart: whoever can write to l2 cannot make this process allocate more. Longer bodies are not compressed. Default 16 MiB. */
  maxBytes?: number | undefined
}

/** First byte of a body. */
const asItWas = 0
const zstd = 1
/** A compressed body is kept when it is at most so large a share of what it was. */
const worthwhileShare = 0.9
/** So many attempts in a row that did not pay show that these values do not compress; from then on one of so many is tried. */
const patience = 8
const triesOneOf = 32
/** Fast: an entry is compressed once, but on the event loop. */
const level = 1
const leastWindowLog = 10

/**
 * A serializer that compresses what another has made, by zstd, where that pays: above a size, and by what it has gained so far. Its entries are
 * misses for processes without it, and theirs for it. `maxEntryBytes` counts what is stored.
 */
export function compressed(serializer: Serializer = jsonSerializer, options: CompressionOptions = {}): Serializer {
  knownOptions(wrongOption, 'compressed', options, ['aboveBytes', 'maxBytes'])
  const aboveBytes = integerOption(wrongOption, 'compressed.aboveBytes', options.aboveBytes ?? 1_024, 0)
  const maxBytes = integerOption(wrongOption, 'compressed.maxBytes', options.maxBytes ?? 16 * 1_048_576, 1_024, 2 ** 31 - 1)
  const windowLog = Math.max(leastWindowLog, Math.ceil(Math.log2(maxBytes)))
  const bounded = { maxOutputLength: maxBytes, params: { [constants.ZSTD_d_windowLogMax]: windowLog } }
  const gain = new Gain()
  return {
    name: `${serializer.name}.zstd`,
    binary: true,
    encode(value) {
      const body = bytesOf(serializer.encode(value))
      if (body.length <= aboveBytes || body.length > maxBytes || !gain.isLikely()) return marked(asItWas, body)
      const packed = zstdCompressSync(body, { pledgedSrcSize: body.length, params: { [constants.ZSTD_c_compressionLevel]: level } })
      const pays = packed.length <= body.length * worthwhileShare
      gain.learn(pays)
      return pays ? marked(zstd, packed) : marked(asItWas, body)
    },
    decode(stored) {
      const [mark] = stored
      const body = Buffer.from(stored.buffer, stored.byteOffset + 1, Math.max(0, stored.byteLength - 1))
      if (mark === asItWas) return decode(serializer, body)
      if (mark === zstd) return decode(serializer, zstdDecompressSync(body, bounded))
      throw new TypeError('the body is neither compressed nor as it was')
    },
  }
}

/** Whether compression has paid lately. */
class Gain {
  #inVain = 0
  #skipped = 0

  isLikely(): boolean {
    return this.#inVain < patience || ++this.#skipped % triesOneOf === 0
  }

  learn(pays: boolean): void {
    this.#inVain = pays ? 0 : this.#inVain + 1
  }
}

function bytesOf(body: Body): Buffer {
  return typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}

function marked(mark: number, body: Uint8Array): Uint8Array {
  const stored = Buffer.allocUnsafeSlow(body.length + 1)
  stored[0] = mark
  stored.set(body, 1)
  return stored
}
