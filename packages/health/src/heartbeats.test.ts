import { describe, expect, it, vi } from 'vitest'
import { createHealth } from './index.ts'

describe('heartbeats', () => {
  it('a silent loop fails liveness, whatever readiness says; one that beats or has ended does not', async () => {
    await using health = createHealth({ checks: {} })
    health.setState('ready')
    const polling = health.heartbeat('polling', { withinMs: 200 })
    const other = health.heartbeat('polling', { withinMs: 60_000 })
    expect(health.liveness()).toMatchObject({ status: 'pass', checks: { polling: { status: 'pass' } } })
    await vi.waitFor(
      () => expect(health.liveness()).toMatchObject({ status: 'fail', checks: { polling: { message: 'no sign of life' } } }),
      10_000,
    )
    expect(health.readiness().status).toBe('pass')
    polling.beat()
    other.beat()
    expect(health.liveness().status).toBe('pass')
    await vi.waitFor(() => expect(health.liveness().status).toBe('fail'), 10_000)
    polling.end()
    expect(health.liveness().status).toBe('pass')
  })

  it('a stall of the process is no silence of its loops', async () => {
    await using health = createHealth({ checks: {} })
    health.heartbeat('polling', { withinMs: 1_000 })
    const until = performance.now() + 1_500
    while (performance.now() < until);
    expect(health.liveness().status).toBe('pass')
  })

  it.each([[{ withinMs: 10 }], [{ within: 1_000 }]])('names a wrong option: %j', (options) => {
    const health = createHealth({ checks: {} })
    expect(() => health.heartbeat('polling', options as never)).toThrow(expect.objectContaining({ code: 'ERR_HEALTH_OPTION' }))
  })
})
