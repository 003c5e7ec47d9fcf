import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'

export const POLL: { timeout: number; interval: number } = { timeout: 60_000, interval: 10 }
export const minute = 60_000

/** A folder for each test, below which credentials are written. */
export function testFolder(): { readonly path: string } {
  let path: string
  beforeEach(() => {
    path = mkdtempSync(join(tmpdir(), 'platform-config-'))
  })
  afterEach(() => rmSync(path, { recursive: true, force: true }))
  return {
    get path() {
      return path
    },
  }
}

/** The error with which the work rejects. */
export const rejection = (work: Promise<unknown>): Promise<{ code: string; message: string; cause?: unknown }> =>
  work.then(
    () => expect.fail('it worked'),
    (error: { code: string; message: string; cause?: unknown }) => error,
  )
