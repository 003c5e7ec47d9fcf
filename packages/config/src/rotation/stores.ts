import { createHash, randomBytes } from 'node:crypto'
import { chmod, chown, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { ConfigError, optionError } from '../errors.ts'
import { assertCredential, type Credential } from '../options.ts'
import { isPlainObject, replaced, valueAt } from '../tree.ts'
import { type VaultAddress, vaultClient } from '../vault-client.ts'
import type { CredentialStore } from './contract.ts'

export interface CredentialKeys {
  /** The setting that holds the name. Default `username`. */
  username?: string | undefined
  /** The setting that holds the password. Default `password`. */
  password?: string | undefined
}

/**
 * A `.json` file that the source `file` reads. What else stands in it stays. Replaced as a whole; it keeps its owner, group and mode, a new one
 * is readable for its owner and group only. */
export function credentialFile(path: string, keys: CredentialKeys = {}): CredentialStore {
  if (typeof path !== 'string' || !path.endsWith('.json')) throw optionError('path', 'the path of a .json file')
  const { username, password } = paths(keys)
  const current = async (): Promise<{ text: string; tree: Record<string, unknown> } | undefined> => {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (text === undefined) return undefined
    const tree: unknown = JSON.parse(text)
    if (!isPlainObject(tree)) throw new ConfigError('ERR_CONFIG_ROTATION', 'the file is not an object')
    return { text, tree }
  }
  return {
    name: path,
    async read() {
      const found = await current()
      const name = found && valueAt(found.tree, username)
      if (found === undefined || typeof name !== 'string') return undefined
      return { username: name, writtenAt: (await stat(path)).mtimeMs, revision: revisionOf(found.text) }
    },
    async write(credential, { expected }) {
      const found = await current()
      const isKnown = found !== undefined && typeof valueAt(found.tree, username) === 'string'
      if ((isKnown ? revisionOf(found.text) : undefined) !== expected)
        throw new ConfigError('ERR_CONFIG_ROTATION', 'somebody else has written the file')
      const tree = replaced(replaced(found?.tree ?? {}, username, credential.username), password, credential.password)
      await replaceFile(path, `${JSON.stringify(tree, null, 2)}\n`)
    },
  }
}

/** A secret of Vault's key/value engine, version 2, that the source `vaultKv` reads. Written with check-and-set; its other keys stay. */
export function vaultCredential(options: VaultAddress & { token: Credential } & CredentialKeys): CredentialStore {
  const { token, username: _username, password: _password, ...address } = options
  assertCredential('token', token)
  const keys = { username: options.username ?? 'username', password: options.password ?? 'password' }
  const client = vaultClient(address, token)
  return {
    name: `vault:${address.mount ?? 'secret'}/${address.path}`,
    async read({ signal }) {
      const found = await client.read({ signal })
      const name = found?.data[keys.username]
      return typeof name === 'string' ? { username: name, writtenAt: found?.createdAt ?? 0, revision: String(found?.version) } : undefined
    },
    async write({ username, password }, { signal, expected }) {
      const found = await client.read({ signal })
      await client.write(
        { ...found?.data, [keys.username]: username, [keys.password]: password },
        Number(expected ?? found?.version ?? 0),
        {
          signal,
        },
      )
    },
  }
}

/** A reader sees the old file or the new one, and may read both: owner, group and mode are the old one's before the name is. */
async function replaceFile(path: string, text: string): Promise<void> {
  const target = await realpath(path).catch(() => path)
  const before = await stat(target).catch(() => undefined)
  const draft = `${target}.${randomBytes(4).toString('hex')}`
  try {
    await writeFile(draft, text, { mode: 0o600, flush: true })
    if (before) await chown(draft, before.uid, before.gid)
    await chmod(draft, before === undefined ? 0o640 : before.mode & 0o777)
    await rename(draft, target)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

function paths({ username = 'username', password = 'password' }: CredentialKeys): { username: string[]; password: string[] } {
  for (const [option, key] of Object.entries({ username, password }))
    if (typeof key !== 'string' || key === '') throw optionError(option, 'a dotted path such as db.user')
  return { username: username.split('.'), password: password.split('.') }
}

function revisionOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
