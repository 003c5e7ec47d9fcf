/** What an answer of the server begins with when it cannot do it now, but will: nothing was written. */
const passing = /^(OOM|LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|ERR max number of clients)/

/** ioredis refused to send. */
const unsent = /^(Stream isn't writeable|Cluster isn't ready|None of startup nodes|Failed to refresh slots)/

/**
 * passing: the server says not now, nothing was written. unsent: there is no connection. lost: the connection broke before the answer.
 * refused: the server says no.
 */
export type Fault = 'passing' | 'unsent' | 'lost' | 'refused'

export function faultOf(error: unknown): Fault {
  if (!(error instanceof Error)) return 'refused'
  if (error.name === 'ReplyError') return passing.test(error.message) ? 'passing' : 'refused'
  return unsent.test(error.message) ? 'unsent' : 'lost'
}

export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith('OOM')
}

/** Wrong name or password, or none. */
export function isShutOut(error: unknown): boolean {
  return (
    error instanceof Error &&
    error.name === 'ReplyError' &&
    /^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password|invalid username))/.test(error.message)
  )
}

/** Redis 6 takes the first line of our scripts for a mistake. */
export function isTooOld(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError' && /compiling script.*near '#'/.test(error.message)
}

/** The error without the command that ioredis attaches, whose arguments are messages. */
export function plain(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const bare = new Error(error.message)
  bare.name = error.name
  return bare
}
