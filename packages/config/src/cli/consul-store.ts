import { ConfigError } from '../errors.ts'
import { ask, below, type HttpAnswer } from '../http-request.ts'

/** A key as it is, with the index that a change of it must name. */
export interface Stored {
  readonly text: string
  readonly index: number
}

/** `text` undefined: the key goes. */
export interface Write {
  readonly key: string
  readonly text: string | undefined
  /** Of the state that the write was decided by; 0 for a key that was not there. */
  readonly index: number
}

/** What one transaction of Consul can hold, in every version that is supported upstream. */
export const writesAtOnce = 64
const timeoutMs = 15_000
const maxBytes = 64 * 2 ** 20

/** Consul's key/value store for whoever writes to it: reads with indexes, writes all or nothing. */
export class ConsulStore {
  readonly #url: string
  readonly #token: string | undefined

  constructor(url: string, token: string | undefined) {
    this.#url = url
    this.#token = token
  }

  /** Every key below the folder, by what follows it. */
  async read(folder: string): Promise<Map<string, Stored>> {
    const answer = await this.#ask('GET', `/v1/kv/${pathOf(folder)}/`, { recurse: 'true', consistent: '' })
    if (answer.status === 404) return new Map()
    if (answer.status !== 200) throw refused(answer)
    const entries = parsed(answer.body) as { Key: string; Value: string | null; ModifyIndex: number }[]
    return new Map(
      entries.map(({ Key, Value, ModifyIndex }) => [
        Key.slice(folder.length + 1),
        { text: Buffer.from(Value ?? '', 'base64').toString('utf8'), index: ModifyIndex },
      ]),
    )
  }

  /** False: somebody wrote to one of the keys meanwhile, and nothing was written. */
  async write(writes: readonly Write[]): Promise<boolean> {
    const operations = writes.map(({ key, text, index }) => ({
      KV: {
        Verb: text === undefined ? 'delete-cas' : 'cas',
        Key: key,
        Index: index,
        ...(text === undefined ? {} : { Value: Buffer.from(text).toString('base64') }),
      },
    }))
    const answer = await this.#ask('PUT', '/v1/txn', {}, operations)
    if (answer.status === 409) return false
    if (answer.status !== 200) throw refused(answer)
    return true
  }

  #ask(method: 'GET' | 'PUT', path: string, query: Readonly<Record<string, string>>, json?: unknown): Promise<HttpAnswer> {
    const headers = this.#token === undefined ? {} : { 'x-consul-token': this.#token }
    return ask({ method, url: below(this.#url, path, query), headers, json, timeoutMs, maxBytes })
  }
}

const pathOf = (folder: string): string => folder.split('/').map(encodeURIComponent).join('/')

const refused = ({ status }: HttpAnswer): ConfigError => new ConfigError('ERR_CONFIG_SOURCE', `Consul answered ${status}`, { status })

function parsed(body: string): unknown[] {
  try {
    const entries: unknown = JSON.parse(body)
    if (Array.isArray(entries) && entries.every((entry) => typeof (entry as { Key?: unknown } | null)?.Key === 'string')) return entries
  } catch {
    // Told below.
  }
  throw new ConfigError('ERR_CONFIG_SOURCE', 'Consul answered something else than keys')
}
