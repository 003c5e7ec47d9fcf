import { settlesWithin } from '@platform/kernel'
import pg from 'pg'
import { type Credential, type ResolvedDbPoolOptions, reveal } from './options.ts'

/**
 * One new connection to the server within `connectTimeoutMs`. `made` runs in the very moment the server is ready, so that no event of
 * the connection is missed.
 */
export function connectClient(options: ResolvedDbPoolOptions, credential: Credential | undefined, signal?: AbortSignal): Promise<pg.Client>
export function connectClient<T>(
  options: ResolvedDbPoolOptions,
  credential: Credential | undefined,
  signal: AbortSignal | undefined,
  made: (client: pg.Client) => T,
): Promise<T>
export async function connectClient<T>(
  options: ResolvedDbPoolOptions,
  credential: Credential | undefined,
  signal?: AbortSignal,
  made?: (client: pg.Client) => T,
): Promise<T | pg.Client> {
  let giveUp: (reason: unknown) => void = () => {}
  const givenUp = new Promise<never>((_resolve, reject) => {
    giveUp = reject
  })
  const onAbort = (): void => giveUp(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer = setTimeout(
    () => giveUp(new Error(`no connection to the server within ${options.connectTimeoutMs} ms`)),
    options.connectTimeoutMs,
  )
  let client: pg.Client | undefined
  let ended: Promise<void> | undefined
  try {
    if (signal?.aborted) throw signal.reason
    const password = credential === undefined ? undefined : await Promise.race([reveal(credential), givenUp])
    client = createClient(options, password)
    const connecting = client
    ended = new Promise((resolve) => connecting.once('end', () => resolve()))
    const connected = new Promise<T | pg.Client>((resolve, reject) => {
      connecting.connect((error: Error | null) => {
        if (error) reject(error)
        else resolve(made === undefined ? connecting : made(connecting))
      })
    })
    return await Promise.race([connected, givenUp])
  } catch (error) {
    client?.connection.stream.destroy()
    if (ended !== undefined) await settlesWithin(ended, 1_000)
    throw error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
    givenUp.catch(() => {})
  }
}

function createClient(options: ResolvedDbPoolOptions, password: string | undefined): pg.Client {
  // A pooler knows few start parameters and refuses the others.
  const limits =
    options.pooler === 'none'
      ? { statement_timeout: options.statementTimeoutMs, idle_in_transaction_session_timeout: options.idleInTransactionTimeoutMs }
      : {}
  const client = new pg.Client({
    connectionString: options.url,
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
