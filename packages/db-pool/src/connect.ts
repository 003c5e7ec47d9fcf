import { orAborted, settlesWithin } from '@platform/kernel'
import pg from 'pg'
import { type Credential, type ResolvedDbPoolOptions, reveal } from './options.ts'

/** Runs one attempt with a signal that aborts after `timeoutMs` too. Unlike a deadline it waits for the attempt to clean up. */
export async function withinTime<T>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted()
  const controller = new AbortController()
  const forward = (): void => controller.abort(signal?.reason)
  signal?.addEventListener('abort', forward, { once: true })
  const timer = setTimeout(() => controller.abort(new Error(`no connection to the server within ${timeoutMs} ms`)), timeoutMs)
  try {
    return await attempt(controller.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', forward)
  }
}

/**
 * One new connection to one server. `made` runs in the very moment the server is ready, so that no event of the connection is missed. Before
 * it rejects the socket is closed.
 */
export async function connectTo<T>(
  url: string,
  options: ResolvedDbPoolOptions,
  credential: Credential | undefined,
  signal: AbortSignal,
  made: (client: pg.Client) => T,
): Promise<T> {
  const password = credential === undefined ? undefined : await orAborted(reveal(credential), signal)
  signal.throwIfAborted()
  const client = createClient(url, options, password)
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()))
  const connected = new Promise<T>((resolve, reject) => {
    client.connect((error: Error | null) => {
      if (error) reject(error)
      else if (!signal.aborted) resolve(made(client))
    })
  })
  try {
    return await orAborted(connected, signal)
  } catch (error) {
    client.connection.stream.destroy()
    await settlesWithin(ended, 1_000)
    throw error
  }
}

function createClient(url: string, options: ResolvedDbPoolOptions, password: string | undefined): pg.Client {
  // A pooler knows few start parameters and refuses the others.
  const limits =
    options.pooler === 'none'
      ? { statement_timeout: options.statementTimeoutMs, idle_in_transaction_session_timeout: options.idleInTransactionTimeoutMs }
      : {}
  const client = new pg.Client({
    connectionString: url,
    keepAlive: true,
    // The system's default is two hours.
    keepAliveInitialDelayMillis: 10_000,
    ...limits,
    ...(options.applicationName === undefined ? {} : { application_name: options.applicationName }),
  })
  // After the construction, since a password in the URL would win over the option.
  if (password !== undefined) client.password = password
  client.on('error', () => {})
  return client
}
