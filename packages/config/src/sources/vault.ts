import { createHash } from 'node:crypto'
import { backgroundPause, jittered } from '@platform/kernel'
import { coerce } from '../coerce.ts'
import { ConfigError } from '../errors.ts'
import { expectedOf } from '../fields.ts'
import { assertCredential, assertMs, type Credential } from '../options.ts'
import type { ReadOptions, Source, Tree } from '../source.ts'
import { assign, isPlainObject, bareObject } from '../tree.ts'
import { type VaultAddress, vaultClient } from '../vault-client.ts'

export type { VaultAddress } from '../vault-client.ts'

export interface VaultKvOptions extends VaultAddress {
  token: Credential
  /** How often it is asked for a new version, ms, at least 100. Default 30000. Vault tells nobody by itself. */
  pollMs?: number | undefined
}

/** Settings, as a rule secrets, from one secret of Vault's key/value engine, version 2. A key may be a dotted path; texts are converted as those of variables are. */
export function vaultKv(options: VaultKvOptions): Source {
  const { token, pollMs = 30_000 } = options
  assertCredential('token', token)
  assertMs('pollMs', pollMs, 100)
  const { mount = 'secret', path } = options
  const client = vaultClient(options, token)
  const name = `vault:${mount}/${path}`
  let known: string | undefined
  const fingerprint = (data: unknown) => createHash('sha256').update(JSON.stringify(data)).digest('hex')

  return {
    name,
    remote: true,
    async read(readOptions) {
      const found = await client.read({ signal: readOptions.signal })
      if (found === undefined) throw new ConfigError('ERR_CONFIG_SOURCE', `Vault has no secret ${mount}/${path}`, { status: 404 })
      known = fingerprint(found.data)
      return treeOf(found.data, `${name}@${found.version}`, readOptions)
    },
    watch(changed) {
      const ended = new AbortController()
      const follow = async (): Promise<void> => {
        for (;;) {
          await backgroundPause(jittered(pollMs), ended.signal)
          if (ended.signal.aborted) return
          try {
            const found = await client.read({ signal: ended.signal, isBackground: true })
            const now = found && fingerprint(found.data)
            if (known === undefined || now === known) continue
            known = now ?? known
            changed()
          } catch {
            // Unreachable for now: what was read stays true.
          }
        }
      }
      void follow()
      return () => ended.abort()
    },
    setting: (field) => `${field.path.join('.')} in ${name}`,
  }
}

function treeOf(data: Record<string, unknown>, location: string, { fields, report }: ReadOptions): Tree {
  const tree = bareObject()
  const visit = (node: Record<string, unknown>, around: readonly string[]): void => {
    for (const [key, value] of Object.entries(node)) {
      const path = [...around, ...key.split('.')]
      const dotted = path.join('.')
      if (path.some((part) => ['__proto__', 'constructor', 'prototype'].includes(part))) {
        report.fault({ path: dotted, location, expected: 'another key: this one is never accepted' })
        continue
      }
      const field = fields.find((candidate) => candidate.path.join('.') === dotted)
      if (field === undefined && isPlainObject(value)) {
        visit(value, path)
        continue
      }
      const coerced = field && typeof value === 'string' ? coerce(value, field.kind) : { ok: true as const, value }
      if (!coerced.ok) {
        report.fault({ path: dotted, location, expected: field ? expectedOf(field) : coerced.expected })
        continue
      }
      report.at(path, location)
      assign(tree, path, coerced.value)
    }
  }
  visit(data, [])
  return tree
}
