import { createHealth } from '@platform/health'
import { expect, it } from 'vitest'
import { componentIndicator, indicatorCheck } from './index.ts'

it('an indicator of terminus is a check of our health, and says which part is down in the log only', async () => {
  let status = 'up'
  const causes: string[] = []
  const logger = { debug() {}, info() {}, warn: (fields: { err?: unknown }) => causes.push(String(fields.err)), error() {} }
  await using health = createHealth({
    logger,
    checks: { db: { kind: 'critical', intervalMs: 10, fall: 1, run: indicatorCheck(async () => ({ orm: { status, host: 'db-7' } })) } },
  })
  await health.ready()
  health.setState('ready')
  expect(health.readiness().status).toBe('pass')
  status = 'down'
  await expect.poll(() => health.readiness().status).toBe('fail')
  expect(causes.join()).toContain('orm is down')
  expect(JSON.stringify(health.readiness())).not.toContain('db-7')
})

it('a component is an indicator for terminus, without its cause', async () => {
  const ask = (check: () => Promise<void | { status: 'warn'; message: string }>) => componentIndicator('broker', { check })()
  expect(await ask(async () => {})).toEqual({ broker: { status: 'up' } })
  expect(await ask(async () => ({ status: 'warn', message: 'amqp://user:secret@host' }))).toEqual({
    broker: { status: 'up', message: 'usable, not well' },
  })
  expect(await ask(() => Promise.reject(new Error('password hunter2')))).toEqual({ broker: { status: 'down' } })
})
