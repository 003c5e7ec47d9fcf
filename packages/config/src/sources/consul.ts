import { createHash } from 'node:crypto'
import { backgroundPause, jittered } from '@platform/kernel'
import { ConfigError, optionError } from '../errors.ts'
import type { Field } from '../fields.ts'
import { ask, below } from '../http-request.ts'
import { meant } from '../names.ts'
import { assertCredential, assertMs, type Credential, revealCredential } from '../options.ts'
import type { ReadOptions, Source, Tree } from '../source.ts'
import { assignText } from './variables.ts'
import { bareObject } from '../tree.ts'

export interface ConsulKvOptions {
  /** HTTP API of an agent, such as `http://127.0.0.1:8500`. */
  url: string
  /** Settings are the keys below it: with `film-store/orders` the setting `db.maxSize` is the key `film-store/orders/db/maxSize`. */
  prefix: string
  token?: Credential | undefined
  /** No key below the prefix is fine. Default false: that is a fault, since Consul may have lost its data. */
  optional?: boolean | undefined
  /** How long one request of `watch` waits for a change, ms, 1000 to 600000. Default 55000. */
  waitMs?: number | undefined
}

interface Entry {
  readonly Key: string
  readonly Value: string | null
}

const answerMs = 5_000
const maxBytes = 16 * 2 ** 20

/** Settings from Consul's key/value store, one key a setting, followed by blocking queries. */
export function consulKv(options: ConsulKvOptions): Source {
  const { url, prefix, token, optional = false, waitMs = 55_000 } = options
  if (typeof url !== 'string' || !/^https?:$/.test(URL.parse(url)?.protocol ?? '')) throw optionError('url', 'an http:// or https:// URL')
  if (typeof prefix !== 'string' || !/^[^/?#]+(\/[^/?#]+)*$/.test(prefix)) throw optionError('prefix', 'a path such as film-store/orders')
  if (token !== undefined) assertCredential('token', token)
  assertMs('waitMs', waitMs, 1_000)
  if (waitMs > 600_000) throw optionError('waitMs', 'at most 600000')
  let known: string | undefined

  const fetchEntries = async (
    query: Record<string, string>,
    limits: { signal: AbortSignal | undefined; timeoutMs: number; isBackground: boolean },
  ): Promise<{ entries: readonly Entry[]; index: number }> => {
    const headers = token === undefined ? {} : { 'x-consul-token': await revealCredential(token) }
    const path = `/v1/kv/${prefix.split('/').map(encodeURIComponent).join('/')}/`
    const {
      status,
      headers: answered,
      body,
    } = await ask({ url: below(url, path, { recurse: 'true', ...query }), headers, maxBytes, ...limits })
    const index = Number(answered['x-consul-index'])
    // An answer without an index is not Consul's, whatever it says: a proxy, or a page that says to log in.
    if (status !== 200 && !(status === 404 && Number.isInteger(index)))
      throw new ConfigError('ERR_CONFIG_SOURCE', `Consul answered ${status}`, { status })
    return { entries: status === 404 ? [] : entriesOf(body), index: Number.isInteger(index) && index > 0 ? index : 1 }
  }

  return {
    name: `consul:${prefix}`,
    remote: true,
    async read(readOptions) {
      const { entries } = await fetchEntries({}, { signal: readOptions.signal, timeoutMs: answerMs * 2, isBackground: false })
      known = fingerprint(entries)
      const settings = entries.filter(({ Key }) => !Key.endsWith('/'))
      if (settings.length === 0 && !optional)
        throw new ConfigError('ERR_CONFIG_SOURCE', `Consul has no key below ${prefix}`, { status: 404 })
      return treeOf(settings, `${prefix}/`, readOptions)
    },
    watch(changed) {
      const ended = new AbortController()
      const follow = async (): Promise<void> => {
        let index = 0
        let delayMs = 100
        while (!ended.signal.aborted) {
          try {
            const query: Record<string, string> = index > 0 ? { index: String(index), wait: `${waitMs}ms` } : {}
            const timeoutMs = index > 0 ? Math.round(waitMs * 1.1) + answerMs : answerMs
            const startedAt = performance.now()
            const found = await fetchEntries(query, { signal: ended.signal, timeoutMs, isBackground: true })
            // An index that went back counts from the beginning again.
            index = found.index < index ? 0 : found.index
            delayMs = 100
            const now = fingerprint(found.entries)
            if (known !== undefined && now !== known) {
              known = now
              changed()
            }
            // Answers that come at once, with nothing new, must not make it spin.
            if (performance.now() - startedAt < 20) await backgroundPause(jittered(100), ended.signal)
          } catch {
            index = 0
            await backgroundPause(jittered(delayMs), ended.signal)
            delayMs = Math.min(delayMs * 2, 2_000)
          }
        }
      }
      void follow()
      return () => ended.abort()
    },
    setting: (field) => `${prefix}/${field.path.join('/')} in Consul`,
  }
}

function entriesOf(body: string): Entry[] {
  let entries: unknown
  try {
    entries = JSON.parse(body)
  } catch {
    throw new ConfigError('ERR_CONFIG_SOURCE', 'Consul answered something else than JSON')
  }
  const isEntry = (entry: unknown): entry is Entry => typeof (entry as Entry | null)?.Key === 'string'
  if (Array.isArray(entries) && entries.every(isEntry)) return entries
  throw new ConfigError('ERR_CONFIG_SOURCE', 'Consul answered something else than keys')
}

function fingerprint(entries: readonly Entry[]): string {
  const hash = createHash('sha256')
  for (const { Key, Value } of entries) hash.update(`${JSON.stringify([Key, Value])}\n`)
  return hash.digest('hex')
}

function treeOf(entries: readonly Entry[], prefix: string, options: ReadOptions): Tree {
  const { fields, report } = options
  const byKey = new Map<string, Field>(fields.map((field) => [field.path.join('/'), field]))
  const tree = bareObject()
  for (const { Key, Value } of entries) {
    const location = `consul:${Key}`
    const key = Key.slice(prefix.length)
    const field = byKey.get(key)
    if (/(^|\/)(__proto__|constructor|prototype)(\/|$)/.test(key)) {
      report.fault({ path: key.replaceAll('/', '.'), location, expected: 'another key: this one is never accepted' })
    } else if (field === undefined) {
      report.warn({ path: key, location, expected: 'the name of a setting', hint: meant(key, byKey.keys()) })
    } else {
      const text = textOf(Value ?? '')
      if (text === undefined) report.fault({ path: field.path.join('.'), location, expected: 'text in UTF-8 without NUL characters' })
      else if (text !== '') assignText(tree, field, text, location, options)
    }
  }
  return tree
}

function textOf(base64: string): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(base64, 'base64'))
    return text.includes('\0') ? undefined : text
  } catch {
    return undefined
  }
}
