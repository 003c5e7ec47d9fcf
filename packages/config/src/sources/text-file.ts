import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { ReadOptions } from '../source.ts'

/** Enough for any settings: a ConfigMap may not be larger. */
export const defaultMaxBytes = 1_048_576

/** The text of a file in UTF-8 without its byte order mark; everything that is wrong with it is a fault, and gives `undefined`. */
export async function readTextFile(
  path: string,
  { signal, report }: Pick<ReadOptions, 'signal' | 'report'>,
  options: {
    optional?: boolean | undefined
    maxBytes?: number | undefined
    setting?: string | undefined
    location?: string | undefined
  } = {},
): Promise<string | undefined> {
  const { optional = false, maxBytes = defaultMaxBytes, setting = '', location = path } = options
  const refuse = (expected: string, hint?: string): undefined => {
    report.fault({ path: setting, location, expected, hint })
    return undefined
  }
  let content: Buffer
  try {
    // A named pipe without a writer would be waited for without end.
    await using handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const { size, isFile } = await handle.stat().then((stat) => ({ size: stat.size, isFile: stat.isFile() }))
    if (!isFile) return refuse('a file, not a directory or a pipe')
    if (size > maxBytes) return refuse(`a file of at most ${maxBytes} bytes`)
    content = await handle.readFile({ signal })
  } catch (error) {
    signal?.throwIfAborted()
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') return refuse(`a file that can be read (${code ?? 'unreadable'})`)
    if (optional) return undefined
    return setting === ''
      ? refuse('a file', 'there is none; pass { optional: true } if that is fine')
      : refuse(`a file that can be read (${code})`)
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(content)
    return text.includes('\0') ? refuse('text without NUL characters') : text
  } catch {
    return refuse('text in UTF-8')
  }
}
