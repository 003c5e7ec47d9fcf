import type { Serializer } from '../codec.ts'
import type { Cache } from '../contract.ts'
import type { SharedDriver, SharedRead } from '../driver.ts'
import { type Bench, eventually, heldLoad, type TestFunctions } from './bench.ts'

/** What two processes over one store may rely on. Each cache stands for a process; none has an l1, and there is no bus. */
export function describeSharedDriver({ expect }: TestFunctions, on: (name: string, body: (bench: Bench) => Promise<void>) => void): void {
  on('what one process stores or removes, the other sees', async (bench) => {
    const [a, b] = [bench.cache(), bench.cache()]
    expect(await a.getOrSet('k', () => 'made by a', { tags: ['t'] })).toBe('made by a')
    expect(await b.getOrSet('k', () => 'made by b')).toBe('made by a')
    await b.deleteByTag('t')
    expect(await a.get('k')).toBe(undefined)
    await a.set('k', 1)
    await b.delete('k')
    expect(await a.get('k')).toBe(undefined)
  })

  on('namespaces do not touch each other', async (bench) => {
    const [a, b] = [bench.cache(), bench.cache({ namespace: 'contract-2' })]
    await a.set('k', 1, { tags: ['t'] })
    await b.set('k', 2, { tags: ['t'] })
    await b.deleteByTag('t')
    await b.clear()
    expect([await a.get('k'), await b.get('k')]).toEqual([1, undefined])
  })

  const overtaken: [string, string[], boolean, (cache: Cache) => Promise<void>][] = [
    ['delete', [], false, (cache) => cache.delete('k')],
    ['deleteByTag, tag known before', ['t'], false, (cache) => cache.deleteByTag('t')],
    ['deleteByTag, tag named afterwards', [], true, (cache) => cache.deleteByTag('t')],
    ['clear', [], false, (cache) => cache.clear()],
  ]
  for (const [name, tags, late, invalidate] of overtaken)
    on(`a load overtaken by another process's ${name} is not stored, and no third process gets it`, async (bench) => {
      const [a, b, c] = [bench.cache(), bench.cache(), bench.cache()]
      const load = heldLoad('old', (entry) => late && entry.tag('t'))
      const asked = a.getOrSet('k', load.factory, { tags })
      await load.started
      await invalidate(b)
      load.release()
      expect(await asked).toBe('old')
      expect(await c.get('k')).toBe(undefined)
      expect(await c.getOrSet('k', () => 'new', { tags })).toBe('new')
      expect(await a.get('k')).toBe('new')
    })

  on('a load whose tags nobody has used yet is stored, though others were invalidated meanwhile', async (bench) => {
    const [a, b] = [bench.cache(), bench.cache()]
    const load = heldLoad('kept')
    const asked = a.getOrSet('k', load.factory, { tags: ['unheard of'] })
    await load.started
    await b.deleteByTag('another')
    load.release()
    expect(await asked).toBe('kept')
    expect(await b.get('k')).toBe('kept')
  })

  on('an entry that is to be refreshed early is, long before it is stale', async (bench) => {
    const cache = bench.cache({ ttlMs: 3_600_000, earlyRefresh: 0.000_001 })
    await cache.set('k', 'first')
    await eventually(async () => (await cache.getOrSet('k', () => 'second')) === 'second')
    expect(await bench.cache().get('k')).toBe('second')
  })

  on('what another serializer has written is absent, in every way of asking', async (bench) => {
    const plain: Serializer = { name: 'plain', encode: String, decode: (body) => `plain ${body}` }
    const [a, b] = [bench.cache(), bench.cache({ serializer: plain })]
    for (const tags of [[], ['t']]) {
      await a.set('k', 1, { tags })
      expect(await b.get('k')).toBe(undefined)
      expect(await b.getOrSet('k', () => 'new', { tags })).toBe('plain new')
      expect(await a.get('k')).toBe(undefined)
      expect(await a.getOrSet('k', () => 2, { tags })).toBe(2)
    }
  })

  on("another process's set is not overwritten by an older load", async (bench) => {
    const [a, b] = [bench.cache(), bench.cache()]
    const load = heldLoad('old')
    const asked = a.getOrSet('k', load.factory)
    await load.started
    await b.set('k', 'new')
    load.release()
    await asked
    expect(await a.get('k')).toBe('new')
  })

  on('one process loads, the others wait for it', async (bench) => {
    const caches = [bench.cache(), bench.cache(), bench.cache()]
    const load = heldLoad('once')
    let runs = 0
    const factory: typeof load.factory = (entry) => {
      runs++
      return load.factory(entry)
    }
    const asked = caches.map((cache) => cache.getOrSet('k', factory))
    await load.started
    load.release()
    expect(await Promise.all(asked)).toEqual(['once', 'once', 'once'])
    expect(runs).toBe(1)
  })

  on('a process that waited while the load was overtaken loads itself', async (bench) => {
    const [a, b] = [bench.cache(), bench.cache()]
    const load = heldLoad('old')
    const first = a.getOrSet('k', load.factory)
    await load.started
    await a.delete('k')
    expect(await b.getOrSet('k', () => 'new')).toBe('new')
    load.release()
    expect(await first).toBe('old')
    expect(await b.get('k')).toBe('new')
  })

  on('a factory that fails or skips gives the right to load back at once', async (bench) => {
    const [a, b] = [bench.cache({ leaseWaitMs: 60_000, leaseMs: 60_000 }), bench.cache({ leaseWaitMs: 60_000, leaseMs: 60_000 })]
    expect(await a.getOrSet('k', () => Promise.reject(new Error('down'))).catch((error: Error) => error.message)).toBe('down')
    await b.getOrSet('k', (entry) => entry.skip())
    expect(await a.getOrSet('k', () => 1)).toBe(1)
    expect(await b.get('k')).toBe(1)
  })

  on('a process that died with the right to load holds nobody up for longer than the lease', async (bench) => {
    const driver = bench.place.driver()
    const nothing = (): undefined => undefined
    const open = { namespace: 'contract', format: 'json', binary: false, onError: nothing, onFault: nothing }
    const store = (driver as SharedDriver).open(open)
    for (let held = false; !held; ) {
      const [read] = await store
        .read([{ key: 'k', tags: [], lease: { token: 'dead', leaseMs: 300, earlyMs: 0, awaits: false } }])
        .catch(() => [])
      held = read?.lease === 'held'
    }
    const cache = bench.cache({ leaseWaitMs: 60_000 })
    expect(await cache.getOrSet('k', () => 'alive')).toBe('alive')
    const late = { key: 'k', body: '"dead"', freshMs: 1_000, retainMs: 1_000, tags: [], token: 'dead', position: '0:0' }
    expect(await store.fill(late)).toEqual({ stored: false, awaited: false })
    expect(await cache.get('k')).toBe('alive')
    await store.close()
  })

  on('whoever gives a lease up hears whether somebody waits for its end', async (bench) => {
    const nothing = (): undefined => undefined
    const open = { namespace: 'contract', format: 'json', binary: false, onError: nothing, onFault: nothing }
    const store = (bench.place.driver() as SharedDriver).open(open)
    const ask = async (key: string, token: string, awaits: boolean): Promise<SharedRead> => {
      const [read] = await store.read([{ key, tags: [], lease: { token, leaseMs: 60_000, earlyMs: 0, awaits } }])
      return read as SharedRead
    }
    await eventually(() =>
      ask('ready', 'any', false).then(
        () => true,
        () => false,
      ),
    )
    for (const key of ['filled', 'released', 'yielded', 'alone']) {
      const { lease, position } = await ask(key, 'holder', true)
      expect(lease).toBe('held')
      if (key === 'alone') await ask(key, 'passer-by', false)
      else for (const token of ['one', 'two']) expect((await ask(key, token, true)).lease).toBe('taken')
      await store.renew([key], 'holder', 60_000, key === 'yielded')
      const fill = { key, body: '1', freshMs: 60_000, retainMs: 60_000, tags: [], position }
      if (key === 'released') {
        expect(await store.release([key, 'other'], 'stranger')).toEqual([])
        expect(await store.release(['other', key], 'holder')).toEqual([key])
      } else if (key === 'yielded') {
        const next = await ask(key, 'heir', true)
        expect(next.lease).toBe('held')
        expect(await store.fill({ ...fill, token: 'holder' })).toEqual({ stored: false, awaited: false })
        expect(await store.fill({ ...fill, token: 'heir', position: next.position })).toEqual({ stored: true, awaited: true })
      } else expect(await store.fill({ ...fill, token: 'holder' })).toEqual({ stored: true, awaited: key === 'filled' })
    }
    await store.close()
  })

  on('a batch asks the store once and shares what others have', async (bench) => {
    const [a, b] = [bench.cache(), bench.cache()]
    await a.set('x', 'x of a')
    const asked: string[][] = []
    const values = await b.getOrSetMany(['x', 'y', 'z'], async (missing) => {
      asked.push([...missing])
      return new Map(missing.map((key) => [key, `${key} of b`]))
    })
    expect(Object.fromEntries(values)).toEqual({ x: 'x of a', y: 'y of b', z: 'z of b' })
    expect(asked).toEqual([['y', 'z']])
    expect(await a.get('z')).toBe('z of b')
  })

  on('every process sees the value as it comes out of the store', async (bench) => {
    const cache = bench.cache()
    const made = await cache.getOrSet<unknown>('k', () => ({ at: new Date(0), gone: undefined }))
    expect(made).toEqual({ at: '1970-01-01T00:00:00.000Z' })
    expect(await cache.get('k')).toEqual(made)
    const code = (error: { code?: string }) => error.code
    expect(await cache.getOrSet<unknown>('big', () => 1n).catch(code)).toBe('ERR_CACHE_NOT_SERIALIZABLE')
    expect(await cache.getOrSet('big', () => 2)).toBe(2)
  })
}
