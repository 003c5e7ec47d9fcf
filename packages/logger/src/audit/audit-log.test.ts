import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type AuditEvent, type AuditLog, createAuditLog, LoggerError, withLogContext } from '../index.ts'

let folder: string
let path: string
let log: AuditLog

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'platform-audit-'))
  path = join(folder, 'audit.log')
  log = createAuditLog({ name: 'orders', path, redact: { values: () => ['hunter2-canary'] } })
})

afterEach(async () => {
  await log.close()
  rmSync(folder, { recursive: true, force: true })
})

const event: AuditEvent = {
  actor: { type: 'user', id: '7' },
  action: 'order.cancel',
  target: { type: 'order', id: 'a' },
  outcome: 'success',
}
const records = (file = path) =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
const codeOf = (promise: Promise<void>) =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (LoggerError.isInstance(error) ? error.code : error),
  )

it('a record that resolved is in the file, with who, what, and the request that it was', async () => {
  await withLogContext({ request_id: 'r-1' }, () => log.record({ ...event, reason: 'asked by hunter2-canary' }))
  expect(records()).toMatchObject([{ ...event, service: 'orders', pid: process.pid, request_id: 'r-1', reason: 'asked by [redacted]' }])
  // For its owner only.
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

it.each([
  { ...event, outcome: 'ok' },
  { ...event, password: 'x' },
  { ...event, actor: { type: 'user', id: '7', email: 'x' } },
  { ...event, actor: '7' },
  { ...event, action: '' },
  { ...event, target: undefined },
  { ...event, reason: 'x'.repeat(2_000) },
])('what does not fit the schema is refused, and nothing is written: %j', async (wrong) => {
  expect(await codeOf(log.record(wrong as AuditEvent))).toBe('ERR_LOGGER_AUDIT_EVENT')
  await log.ready()
  expect(readFileSync(path, 'utf8')).toBe('')
})

it('a thousand at once are all there, none twice, each whole', async () => {
  await Promise.all(Array.from({ length: 1_000 }, (_, index) => log.record({ ...event, target: { type: 'order', id: String(index) } })))
  expect(records().map(({ target }) => Number((target as { id: string }).id))).toEqual(Array.from({ length: 1_000 }, (_, index) => index))
  expect(new Set(records().map(({ id }) => id)).size).toBe(1_000)
})

it('a record that comes at any moment around the end of a write is written', async () => {
  const hasty = createAuditLog({ name: 'orders', path, timeoutMs: 20_000 })
  const afterTurns = async (turns: number): Promise<void> => {
    await hasty.record(event)
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    await hasty.record(event)
  }
  for (let turns = 0; turns < 24; turns++) await afterTurns(turns)
  expect(records()).toHaveLength(48)
  await hasty.close()
})

it('what cannot be written fails its caller, and is written again once it can be', async () => {
  const elsewhere = createAuditLog({ name: 'orders', path: join(folder, 'none', 'audit.log') })
  expect(await codeOf(elsewhere.ready())).toBe('ERR_LOGGER_AUDIT_NOT_WRITTEN')
  expect(await codeOf(elsewhere.record(event))).toBe('ERR_LOGGER_AUDIT_NOT_WRITTEN')
  execFileSync('mkdir', [join(folder, 'none')])
  await elsewhere.record(event)
  expect(records(join(folder, 'none', 'audit.log'))).toHaveLength(1)
  await elsewhere.close()
})

it('a full disk fails the action', async () => {
  const full = createAuditLog({ name: 'orders', path: '/dev/full' })
  expect(await codeOf(full.record(event))).toBe('ERR_LOGGER_AUDIT_NOT_WRITTEN')
  await full.close()
})

it('a disk that never answers fails the action in time', async () => {
  // Opening a pipe for reading and writing never waits; filling it does.
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const stuck = createAuditLog({ name: 'orders', path: pipe, timeoutMs: 200 })
  const outcomes = await Promise.all(Array.from({ length: 500 }, () => codeOf(stuck.record(event))))
  expect(new Set(outcomes)).toContain('ERR_LOGGER_AUDIT_NOT_WRITTEN')
  await stuck.close({ timeoutMs: 50 })
  // Frees the thread that writes.
  execFileSync('sh', ['-c', `timeout 1 cat ${pipe} > /dev/null || true`])
})

it('a file that was moved away gets no more, the new one is made at once', async () => {
  await log.record(event)
  renameSync(path, `${path}.1`)
  await log.record(event)
  expect([records(`${path}.1`).length, records().length]).toEqual([1, 1])
})

it('a line that a crash tore is ended before the next', async () => {
  writeFileSync(path, '{"time":"torn')
  await log.record(event)
  appendFileSync(path, '')
  expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(3)
  expect(JSON.parse(readFileSync(path, 'utf8').split('\n')[1]!)).toMatchObject(event)
})

it('after close nothing is recorded, and an aborted caller leaves', async () => {
  expect(await codeOf(log.record(event, { signal: AbortSignal.abort(new Error('gone')) }))).toMatchObject({ message: 'gone' })
  await log.close()
  expect(await codeOf(log.record(event))).toBe('ERR_LOGGER_AUDIT_NOT_WRITTEN')
})
