import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { deserialize, serialize } from 'node:v8'
import { optionError } from './errors.ts'
import type { Layer } from './layers.ts'
import { type LastKnownGoodOptions, revealCredential } from './options.ts'
import type { Reading } from './reading.ts'

/** `PCL1`, salt, nonce, tag, then what is encrypted. */
const magic = Buffer.from('PCL1')
const derive = promisify(scrypt) as (key: string, salt: Buffer, length: number) => Promise<Buffer>

interface Copy {
  readonly writtenAt: number
  readonly sources: Readonly<Record<string, readonly { path: readonly string[]; value: unknown }[]>>
}

/** What remote sources said when it was last good, on this machine, encrypted with AES-256-GCM. */
export interface LastKnownGood {
  /** Rejects with `ERR_CONFIG_OPTION` when the key cannot be used. */
  checkKey(): Promise<void>
  /** Atomic: a reader sees the old copy or the new one. */
  save(readings: readonly Reading[]): Promise<void>
  /** What a source said, or why there is nothing to use, in words. */
  load(): Promise<{ ageMs: number; layerOf(source: string): Layer | undefined } | string>
}

export function lastKnownGood({ path, key, maxAgeMs }: LastKnownGoodOptions): LastKnownGood {
  let salted: { text: string; salt: Buffer; key: Buffer } | undefined
  const textOfKey = async (): Promise<string> => {
    const text = await revealCredential(key)
    if (text.length < 16) throw optionError('lastKnownGood.key', 'at least 16 characters')
    return text
  }
  const keyFor = async (salt: Buffer | undefined): Promise<{ salt: Buffer; key: Buffer }> => {
    const text = await textOfKey()
    if (salted?.text === text && (salt === undefined || salt.equals(salted.salt))) return salted
    const use = salt ?? randomBytes(16)
    salted = { text, salt: use, key: await derive(text, use, 32) }
    return salted
  }

  return {
    checkKey: async () => void (await textOfKey()),

    async save(readings) {
      const copy: Copy = {
        writtenAt: Date.now(),
        sources: Object.fromEntries(readings.map(({ source, layer }) => [source.name, layer.leaves])),
      }
      const { salt, key: secret } = await keyFor(undefined)
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', secret, nonce).setAAD(magic)
      const body = Buffer.concat([cipher.update(serialize(copy)), cipher.final()])
      const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
      try {
        await writeFile(draft, Buffer.concat([magic, salt, nonce, cipher.getAuthTag(), body]), { mode: 0o600, flush: true })
        await rename(draft, path)
      } catch (error) {
        await rm(draft, { force: true })
        throw error
      }
    },

    async load() {
      let content: Buffer
      try {
        content = await readFile(path)
      } catch (error) {
        return `there is no local copy (${(error as NodeJS.ErrnoException).code})`
      }
      if (!content.subarray(0, 4).equals(magic) || content.length < 48) return 'the local copy is not one'
      let copy: Copy
      try {
        const { key: secret } = await keyFor(content.subarray(4, 20))
        const decipher = createDecipheriv('aes-256-gcm', secret, content.subarray(20, 32)).setAAD(magic)
        decipher.setAuthTag(content.subarray(32, 48))
        copy = deserialize(Buffer.concat([decipher.update(content.subarray(48)), decipher.final()])) as Copy
      } catch {
        return 'the local copy is damaged, or its key is another one'
      }
      const ageMs = Math.max(0, Date.now() - copy.writtenAt)
      if (ageMs > maxAgeMs) return `the local copy is too old (${ageMs} ms of at most ${maxAgeMs})`
      return {
        ageMs,
        layerOf(source) {
          const leaves = Object.hasOwn(copy.sources, source) ? copy.sources[source] : undefined
          return leaves && { leaves, origin: () => ({ source, location: `local copy of ${source}` }) }
        },
      }
    },
  }
}
