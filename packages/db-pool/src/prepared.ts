import { createHash } from 'node:crypto'
import type pg from 'pg'
import { sqlState } from './errors.ts'

/** A text that comes so often is worth a statement of its own on the server. */
const usesBefore = 5

interface Wire {
  readonly parsedStatements: Record<string, string | undefined>
  close(message: { type: 'S'; name: string }): void
}

/**
 * Named statements of one connection: the server parses and plans a text once. The least recently used gives way; the server is told in the
 * packet of the next statement. After DDL, or when somebody else removed it, the text is prepared anew.
 */
export class PreparedStatements {
  readonly #wire: Wire
  readonly #limit: number
  /** In the order of their use, the latest last. */
  readonly #names = new Map<string, string>()
  readonly #uses = new Map<string, number>()

  constructor(client: pg.Client, limit: number) {
    this.#wire = client.connection as unknown as Wire
    this.#limit = limit
  }

  /** The name to run the text by; undefined while it is not worth one. */
  nameOf(text: string): string | undefined {
    if (this.#limit === 0) return undefined
    const known = this.#names.get(text)
    if (known !== undefined) {
      this.#names.delete(text)
      this.#names.set(text, known)
      return known
    }
    const uses = (this.#uses.get(text) ?? 0) + 1
    if (uses < usesBefore) {
      if (this.#uses.size >= this.#limit * 4) this.#uses.clear()
      this.#uses.set(text, uses)
      return undefined
    }
    this.#uses.delete(text)
    const [oldest] = this.#names
    if (oldest !== undefined && this.#names.size >= this.#limit) {
      this.#names.delete(oldest[0])
      this.#remove(oldest[1])
    }
    const name = `platform_${createHash('sha256').update(text).digest('base64url').slice(0, 22)}`
    this.#names.set(text, name)
    return name
  }

  /** The plan no longer fits, or the statement is not there any more. */
  isStale(error: unknown): boolean {
    const state = sqlState(error)
    return state === '26000' || (state === '0A000' && (error as Error & { routine?: string }).routine === 'RevalidateCachedQuery')
  }

  forget(text: string): void {
    const name = this.#names.get(text)
    if (name === undefined) return
    this.#names.delete(text)
    this.#uses.set(text, usesBefore)
    this.#remove(name)
  }

  #remove(name: string): void {
    this.#wire.close({ type: 'S', name })
    delete this.#wire.parsedStatements[name]
  }
}
