import { type NginxServer, type RabbitmqServer, startNginx, startRabbitmq } from '@platform/stack'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { noInstances, replaceBehindNginx } from './behind-nginx.fixture.ts'

let nginx: NginxServer
let broker: RabbitmqServer
beforeAll(async () => {
  ;[nginx, broker] = await Promise.all([startNginx({ config: noInstances }), startRabbitmq()])
})
afterAll(() => Promise.all([nginx?.stop(), broker?.stop()]))

const cells = [1, 200, 0].flatMap((rate) => [300, 2_500, 8_000].map((lagMs) => ({ rate, lagMs })))

it.each(cells)(
  'nothing is lost at $rate requests a second (0: all there can be) and a lag of $lagMs ms',
  { timeout: 180_000 },
  async (cell) => {
    const seen = await replaceBehindNginx(nginx, broker.url, cell)
    const { proof, badGateways, resets, longLived, messages } = seen
    console.log(
      JSON.stringify({
        ...cell,
        answered: proof.tally.answered,
        badGateways,
        resets,
        heard: proof.replacements.map(({ heardMs }) => Math.round(heardMs)),
        exits: proof.replacements.map(({ exitMs }) => Math.round(exitMs)),
        ends: longLived.ends,
        messages,
      }),
    )
    expect({ badGateways, failures: longLived.failures }).toEqual({ badGateways: 0, failures: [] })
    expect(proof.replacements).toMatchObject([{ code: 0 }, { code: 0 }])
    expect(messages).toEqual({ published: messages.published, handledOnce: messages.published, begun: messages.published })
  },
)
