import { randomBytes } from 'node:crypto'
import { copyFileSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StackError } from './errors.ts'
import type { Server } from './server.ts'

const lastLines = 8

/** Adds what the server said to an error of ours and copies its log to where it stays; any other error is passed on as it is. */
export function explain({ name, origin, logFile }: Pick<Server, 'name' | 'origin' | 'logFile'>, error: unknown): unknown {
  if (!StackError.isInstance(error) || logFile === undefined) return error
  let said = ''
  try {
    said = readFileSync(logFile, 'utf8').trim().split('\n').slice(-lastLines).join('\n  ')
  } catch {
    // it died before it had a log
  }
  const kept = said === '' ? undefined : keep(logFile, name)
  const where = kept ? `; log: ${kept}` : ''
  return new StackError(error.code, `${name} (${origin}): ${error.message}${where}\n  ${said}`.trimEnd(), { logFile: kept, cause: error })
}

/** Undefined when there is no room for a copy: a full disk is one reason for which servers die. */
function keep(logFile: string, name: string): string | undefined {
  const kept = join(tmpdir(), `platform-stack-${name}-${randomBytes(4).toString('hex')}.log`)
  try {
    copyFileSync(logFile, kept)
    return kept
  } catch {
    return undefined
  }
}
