import { type NginxServer, type RabbitmqServer, startNginx, startRabbitmq } from '@platform/stack'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { noInstances, replaceBehindNginx } from './behind-nginx.fixture.ts'

let nginx: NginxServer
let broker: RabbitmqServer
beforeAll(async () => {
  ;[nginx, broker] = await Promise.all([startNginx({ config: noInstances }), startRabbitmq()])
})
afterAll(() => Promise.all([nginx?.stop(), broker?.stop()]))

it('a replacement behind nginx costs no request, upload, stream, socket or message', { timeout: 120_000 }, async () => {
  const seen = await replaceBehindNginx(nginx, broker.url, { rate: 100, lagMs: 300 })
  expect(seen).toMatchObject({ badGateways: 0, longLived: { failures: [] } })
  expect(seen.proof.replacements).toMatchObject([{ code: 0 }, { code: 0 }])
  expect(seen.messages).toEqual({
    published: seen.messages.published,
    handledOnce: seen.messages.published,
    begun: seen.messages.published,
  })
  // Each kind of long connection was there, and was led to its end.
  expect(Math.min(...Object.values(seen.longLived.ends))).toBeGreaterThan(4)
})
