import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { safeLogger } from '@platform/kernel'
import { expect, it, onTestFinished, vi } from 'vitest'
import { LogFile, logName } from './log-file.ts'

function place() {
  const folder = mkdtempSync(join(tmpdir(), 'platform-gateway-log-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, logName)
  const lines: string[] = []
  let reopened = 0
  const reader = () => {
    const log = new LogFile({
      folder,
      onLines: (text) => lines.push(...text.split('\n').slice(0, -1)),
      reopen: () => void reopened++,
      logger: safeLogger(undefined),
    })
    log.open()
    return log
  }
  return { folder, file, lines, reader, reopened: () => reopened, write: (text: string) => appendFileSync(file, text) }
}

it('hands on whole lines, however they were written, and all of them at the end', async () => {
  const { folder, lines, reader, write } = place()
  const log = reader()
  write('a\nb')
  await vi.waitFor(() => expect(lines).toEqual(['a']), { timeout: 10_000 })
  write('bb\ncc')
  await vi.waitFor(() => expect(lines).toEqual(['a', 'bbb']), { timeout: 10_000 })
  const long = 'é'.repeat(30_000)
  write(`c\n${long}\nlast\n`)
  log.close()
  expect(lines).toEqual(['a', 'bbb', 'ccc', long, 'last'])
  expect(readdirSync(folder)).toEqual([])
})

it('goes on where the last reader was killed: nothing is lost or told twice', async () => {
  const { lines, reader, write } = place()
  // It is killed: nobody closes it.
  reader()
  write('a\nb\nhal')
  await vi.waitFor(() => expect(lines).toEqual(['a', 'b']), { timeout: 10_000 })
  const next = reader()
  write('f\n')
  next.close()
  expect(lines.filter((line) => line === 'a')).toHaveLength(1)
  expect(lines).toContain('half')
})

it('turns a long file, reads what is still written into the old one, and lets it go', { timeout: 30_000 }, async () => {
  const { folder, file, lines, reader, reopened, write } = place()
  const log = reader()
  const many = Array.from({ length: 90_000 }, (_, number) => `${number} ${'x'.repeat(100)}`)
  write(`${many.join('\n')}\n`)
  await vi.waitFor(() => expect(reopened()).toBe(1), { timeout: 10_000 })
  const old = readdirSync(folder).find((name) => name.startsWith('access-'))!
  appendFileSync(join(folder, old), 'late\n')
  write('new\n')
  await vi.waitFor(() => expect(lines).toHaveLength(many.length + 2), { timeout: 20_000 })
  expect(lines.slice(-2)).toEqual(['late', 'new'])
  expect(readdirSync(folder)).not.toContain(old)
  expect(statSync(file).mode & 0o777).toBe(0o600)
  log.close()
})

it('gives the oldest file up rather than fill the disk', { timeout: 30_000 }, async () => {
  const { folder, lines, reader } = place()
  for (let number = 1; number <= 4; number++) writeFileSync(join(folder, `access-${number}.log`), `${number}\n`.repeat(10))
  writeFileSync(join(folder, logName), 'y'.repeat(9_000_000))
  const log = reader()
  await vi.waitFor(() => expect(readdirSync(folder).filter((name) => name.endsWith('.log')).length).toBeLessThanOrEqual(4), {
    timeout: 20_000,
  })
  log.close()
  expect(lines.length).toBeLessThanOrEqual(40)
})
