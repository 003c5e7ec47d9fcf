/** What this package knows of others, by shape. */

export interface Cancellable {
  signal?: AbortSignal | undefined
}

/** pino's call signature. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export const silentLogger: LoggerLike = { debug() {}, info() {}, warn() {}, error() {} }

/** For what must be told although nobody gave a logger. */
export const warningLogger: LoggerLike = {
  debug() {},
  info() {},
  warn: (fields, message) => process.emitWarning(textOf(fields, message), 'PlatformQueue'),
  error: (fields, message) => process.emitWarning(textOf(fields, message), 'PlatformQueue'),
}

function textOf(fields: object, message = ''): string {
  const { err } = fields as { err?: unknown }
  return err instanceof Error ? `${message} (${err.message})` : message
}

/** An open transaction: db-pool's, a `pg` client's, TypeORM's EntityManager, or an adapter of three lines. */
export interface TransactionLike {
  query(text: string, values?: readonly unknown[]): Promise<unknown>
  afterCommit?(run: () => void | Promise<void>): void
}

/** Where outbox and inbox live. `query` resolves to `{ rows }` (pg) or to the rows themselves (TypeORM). */
export interface Database {
  transaction<T>(work: (tx: TransactionLike) => Promise<T>): Promise<T>
  query: TransactionLike['query']
}

/** Runs a message's handler inside a context; the same hooks that HTTP requests pass. */
export type InboundHook = <T>(
  request: { method: string; url: string; headers: Record<string, string | string[] | undefined> },
  run: () => T,
) => T

/** Adds headers to an outgoing message. */
export type OutboundHook = (headers: Record<string, string>) => void

export interface SecretLike<T = string> {
  reveal(): T
}

/** A function is asked again at each new connection. */
export type Credential = string | SecretLike | (() => string | SecretLike | Promise<string | SecretLike>)

export async function revealCredential(credential: Credential): Promise<string> {
  const value = typeof credential === 'function' ? await credential() : credential
  return typeof value === 'string' ? value : value.reveal()
}
