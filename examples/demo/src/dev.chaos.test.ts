import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { findServerProcesses } from '@platform/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const root = file('../../..')
const films = file('../../catalog-api/src/films.ts')
const runId = randomBytes(6).toString('hex')
const originals = new Map<string, Buffer>()

let output = ''
let dev: ReturnType<typeof spawn>
let left: Promise<number | null>

/** Written back in the end, whatever happens. */
const original = (path: string): Buffer => {
  const text = originals.get(path) ?? readFileSync(path)
  originals.set(path, text)
  return text
}
/** Instances that came up, such as `catalog-api 1`, one entry for each time. */
const ready = (text = output) => [...text.matchAll(/^(\S+ \d) +│ \S+ info +service is ready/gm)].map(([, who]) => who!).toSorted()

/** What dev and the services have written since `from`, once `holds` is true of it; shown when it does not become so. */
async function written(from: number, holds: (text: string) => boolean, withinMs = 60_000): Promise<string> {
  for (const deadline = performance.now() + withinMs; !holds(output.slice(from)); await pause(50)) {
    if (performance.now() > deadline) throw new Error(`not written within ${withinMs} ms:\n${output.slice(from).slice(-4_000)}`)
  }
  return output.slice(from)
}
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Saves, and answers with the instances that were started again because of it. */
async function restartedBy(save: () => void): Promise<string[]> {
  const before = output.length
  save()
  await written(before, (text) => {
    const saved = /^dev +│ \S+ saved [^:]*: (.*)/m.exec(text)?.[1]?.split(', ').length ?? Infinity
    return text.split(' restarted in').length - 1 >= saved
  })
  await pause(500) // The log is followed by polling: what stands before dev's last word in it comes a moment later.
  return ready(output.slice(before))
}

const catalog = ['catalog-api 1', 'catalog-api 2']
const everyone = [...catalog, 'fulfilment-worker 1', 'orders-api 1', 'orders-api 2']

beforeAll(() => {
  dev = spawn(process.execPath, ['--conditions=@platform/source', file('dev.ts'), '--access-log'], {
    env: { ...process.env, PLATFORM_STACK_RUN: runId },
  })
  for (const stream of [dev.stdout!, dev.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += stripVTControlCharacters(text)))
  }
  left = new Promise((resolve) => dev.once('close', resolve))
})
afterAll(async () => {
  for (const [path, text] of originals) writeFileSync(path, text)
  dev.kill('SIGINT')
  await left
}, 60_000)

describe('pnpm dev', () => {
  it('comes up', async () => {
    await written(0, (text) => text.includes('Ctrl-C ends it all'), 120_000)
    await written(0, (text) => ready(text).length >= everyone.length, 20_000)
    expect(ready()).toEqual(everyone)
  }, 150_000)

  it('prints URLs that answer a GET, and an order that can be placed as it stands', async () => {
    const lines = output.split('\n').filter((line) => line.startsWith('dev '))
    const urls = lines.filter((line) => !line.includes('curl')).flatMap((line) => line.match(/http:\S+/g) ?? [])
    expect(urls.length).toBeGreaterThanOrEqual(7)
    const statuses = await Promise.all(urls.map(async (url) => `${url} ${(await fetch(url)).status}`))
    expect(statuses).toEqual(urls.map((url) => `${url} 200`))

    const commands = lines.filter((line) => line.includes('curl')).map((line) => line.slice(line.indexOf('curl')))
    const answers = commands.map((command) => execFileSync('sh', ['-c', command.replace('curl', 'curl -s')], { encoding: 'utf8' }))
    expect(JSON.parse(answers[0]!)).toMatchObject({ filmId: 1, quantity: 1, status: 'placed' })
    expect(answers[1]).toContain('platform_service_component_start_duration')
    expect(answers[2]).toBe('debug\n')
  })

  it('logs each request when it is asked to, by instance and with the time of day', async () => {
    const [url] = /http:\/\/127\.0\.0\.1:\d+\/films\?query=matrix/.exec(output)!
    await fetch(url)
    const line = /^catalog-api 1 +│ \d\d:\d\d:\d\d\.\d{3} info +request answered .*"method":"GET".*"path":"\/films".*"status":200/m
    expect(await written(0, (text) => line.test(text))).toMatch(line)
  })

  it('restarts what a save concerns and nothing else: in place, by a rename twice in a row, by git checkout', async () => {
    const text = original(films)
    expect(await restartedBy(() => writeFileSync(films, Buffer.concat([text, Buffer.from('// in place\n')])))).toEqual(catalog)
    for (const edit of ['first', 'second']) {
      const save = () => {
        writeFileSync(`${films}.saving`, Buffer.concat([text, Buffer.from(`// ${edit}\n`)]))
        renameSync(`${films}.saving`, films)
      }
      expect(await restartedBy(save)).toEqual(catalog)
    }
    // As a checkout writes it: another file under the same name.
    const checkout = () => {
      rmSync(films)
      execFileSync('git', ['checkout-index', '--force', '--', 'examples/catalog-api/src/films.ts'], { cwd: root })
      originals.delete(films)
      if (!readFileSync(films).equals(text)) writeFileSync(films, text)
    }
    expect(await restartedBy(checkout)).toEqual(catalog)
  }, 120_000)

  it('restarts every user of a library, at the same addresses', async () => {
    const library = file('../../../packages/health/src/health.ts')
    expect(await restartedBy(() => writeFileSync(library, original(library)))).toEqual(everyone)
    const [url] = /http:\/\/127\.0\.0\.1:\d+\/films\?query=matrix/.exec(output)!
    expect(await (await fetch(url)).text()).toContain('The Matrix')
  }, 120_000)

  it('says that a broken edit does not start, and goes on with the next save', async () => {
    const text = original(films)
    const before = output.length
    writeFileSync(films, 'this is no program\n')
    expect(await written(before, (text) => text.includes('next save starts'))).toMatch(/catalog-api \d ended while starting/)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await restartedBy(() => writeFileSync(films, text))).toEqual(catalog)
  }, 120_000)

  it('ends with Ctrl-C and leaves nothing behind', async () => {
    dev.kill('SIGINT')
    expect(await left).toBe(0)
    await expect.poll(() => findServerProcesses(runId), { timeout: 20_000 }).toEqual([])
  }, 60_000)
})
