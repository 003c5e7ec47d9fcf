import { expect } from 'vitest'
import { createLogger, type Logger, type LoggerOptions } from '../index.ts'

export type Line = Record<string, any> // oxlint-disable-line typescript/no-explicit-any -- whatever was logged

/** A logger whose lines are kept, with each checked to be one line of JSON without two equal keys. */
export function kept(options: Partial<LoggerOptions> = {}): { logger: Logger; texts: string[]; lines(): Line[] } {
  const texts: string[] = []
  const destination = { writable: true, write: (text: string) => texts.push(text) > 0, on: () => destination, off: () => destination }
  const logger = createLogger({ name: 'test', level: 'trace', ...options, destination: destination as unknown as NodeJS.WritableStream })
  return { logger, texts, lines: () => texts.map(parsed) }
}

/** pino's types forbid calls that people make all the same. */
export const loose = (logger: Logger): Record<'info' | 'error', (...args: unknown[]) => void> =>
  logger as unknown as Record<'info' | 'error', (...args: unknown[]) => void>

export function parsed(text: string): Line {
  expect(text.endsWith('\n')).toBe(true)
  expect(text.slice(0, -1)).not.toContain('\n')
  const line = JSON.parse(text) as Line
  // Writing it again is the shorter text when a key stood there twice.
  expect(JSON.stringify(line)).toHaveLength(text.length - 1)
  return line
}
