import { once } from 'node:events'
import type { Broker } from '../broker.ts'
import { startChild } from './child.ts'
import { Ledger, readLedgerLine, type Audit } from './ledger.ts'
import { poison, sold } from './sold.ts'

/** Runs processes that die of one of the messages until one lives; what the ledger and the dead letters say then. */
export async function feedPoison(broker: Broker, url: string, ordered: boolean): Promise<{ audit: Audit; dead: string[]; deaths: number }> {
  const group = `poisoned-${ordered ? 'in-order' : 'freely'}`
  const ledger = new Ledger({ groups: [group], ordered: ordered ? [group] : [] })
  const options = { group, ordered, retry: { maxAttempts: 2 } }
  await (await broker.consume(sold, async () => {}, options)).close()
  for (const n of [poison, ...Array.from({ length: 15 }, (_, index) => index)]) {
    const film = n === poison ? 'poison' : `film-${n % 6}`
    await ledger.publish(`sale${n}`, film, () => broker.publish(sold, { film, n }, { id: `sale${n}` }))
  }
  for (let deaths = 0; ; deaths += 1) {
    const child = startChild('poisoned-consumer.ts', url, group)
    let read = 0
    const follow = (): void => {
      for (const line of child.lines.slice(read)) {
        const entry = readLedgerLine(line)
        if (entry !== undefined) ledger.record(entry)
      }
      read = child.lines.length
    }
    const exited = once(child.process, 'exit').then(() => true)
    const deadline = performance.now() + 60_000
    let over = false
    while (!over) {
      over = await Promise.race([exited, new Promise<false>((resolve) => setTimeout(() => resolve(false), 100))])
      follow()
      const dead = over ? [] : (await broker.deadLetters(sold, group).list()).map(({ id }) => id)
      for (const id of dead) ledger.record({ did: 'bury', id, group })
      if (ledger.outstanding(group).length === 0 || performance.now() > deadline) {
        await child.kill()
        follow()
        return { audit: ledger.audit(), dead, deaths }
      }
    }
  }
}
