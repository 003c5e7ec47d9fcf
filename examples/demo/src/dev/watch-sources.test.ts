import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Source, sourcesOf } from './dependents.ts'
import { type Change, watchSources } from './watch-sources.ts'

/** A store of its own: `desk` and `shelf` are services, `desk` alone uses `prices`, both use `log`, which has `core` bundled in. */
let root: string
const write = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}
const link = (from: string, to: string, name: string) => {
  mkdirSync(dirname(join(root, from, 'node_modules', name)), { recursive: true })
  execFileSync('ln', ['-s', join(root, to), join(root, from, 'node_modules', name)])
}
const manifest = (name: string, dependencies: object = {}, devDependencies: object = {}) =>
  JSON.stringify({ name, dependencies, devDependencies })
const workspace = 'workspace:*'

let changes: Change[]
let sources: Source[]
let end: (() => Promise<void>) | undefined

beforeEach(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'film-store-watch-')))
  write('desk/package.json', manifest('desk', { prices: workspace, log: workspace, fastify: '^5.0.0' }, { tools: workspace }))
  write('shelf/package.json', manifest('shelf', { log: workspace }))
  write('prices/package.json', manifest('prices', { log: workspace }))
  write('log/package.json', manifest('log', {}, { '@platform/kernel': workspace, tools: workspace }))
  write('core/package.json', manifest('@platform/kernel'))
  write('tools/package.json', manifest('tools'))
  for (const [from, to, name] of [
    ['desk', 'prices', 'prices'],
    ['desk', 'log', 'log'],
    ['shelf', 'log', 'log'],
    ['prices', 'log', 'log'],
    ['log', 'core', '@platform/kernel'],
  ] as const) {
    link(from, to, name)
  }
  for (const name of ['desk', 'shelf', 'prices', 'log', 'core', 'tools']) write(`${name}/src/main.ts`, 'export {}\n')
  sources = sourcesOf(
    new Map([
      ['desk', join(root, 'desk')],
      ['shelf', join(root, 'shelf')],
    ]),
  )
  changes = []
})
afterEach(async () => {
  await end?.()
  end = undefined
  rmSync(root, { recursive: true, force: true })
})

const start = async () => {
  end = await watchSources(sources, (change) => changes.push(change))
}
const concerned = () => [...new Set(changes.flatMap(({ services }) => [...services]))].toSorted()

/** Saves, waits until it is told, and answers with the services that it concerned. */
async function save(work: () => void): Promise<string[]> {
  changes = []
  work()
  await expect.poll(() => changes.length, { timeout: 10_000 }).toBeGreaterThan(0)
  // What follows at once belongs to it.
  await new Promise((resolve) => setTimeout(resolve, 300))
  return concerned()
}

it('knows by the manifests what a service runs from', () => {
  const byName = Object.fromEntries(sources.map(({ name, services }) => [name, [...services].toSorted()]))
  expect(byName).toEqual({
    desk: ['desk'],
    shelf: ['shelf'],
    prices: ['desk'],
    log: ['desk', 'shelf'],
    '@platform/kernel': ['desk', 'shelf'],
  })
})

/** How a new text gets into a file. */
const kinds: Readonly<Record<string, (path: string, text: string) => void>> = {
  'written in place': (path, text) => writeFileSync(path, text),
  appended: (path, text) => appendFileSync(path, text),
  touched: (path) => utimesSync(path, new Date(), new Date()),
  'written beside and renamed over it': (path, text) => {
    writeFileSync(`${path}.saving`, text)
    renameSync(`${path}.saving`, path)
  },
  'moved to a backup, then written anew, as vim does it': (path, text) => {
    writeFileSync(join(dirname(path), '4913'), '')
    unlinkSync(join(dirname(path), '4913'))
    renameSync(path, `${path}~`)
    writeFileSync(path, text)
    unlinkSync(`${path}~`)
  },
  'swapped by two renames, as JetBrains does it': (path, text) => {
    writeFileSync(`${path}___jb_tmp___`, text)
    renameSync(path, `${path}___jb_old___`)
    renameSync(`${path}___jb_tmp___`, path)
    unlinkSync(`${path}___jb_old___`)
  },
  'removed and written anew': (path, text) => {
    unlinkSync(path)
    writeFileSync(path, text)
  },
}

describe('a save', () => {
  it.each(Object.entries(kinds))('is told each time when the file is %s', async (_kind, put) => {
    await start()
    const file = join(root, 'prices/src/main.ts')
    for (const text of ['// first\n', '// second\n', '// third\n']) {
      expect(await save(() => put(file, text))).toEqual(['desk'])
    }
  })

  it('concerns what uses the package, and nothing else', async () => {
    await start()
    expect(await save(() => write('shelf/src/main.ts', '// 1\n'))).toEqual(['shelf'])
    expect(await save(() => write('log/src/main.ts', '// 1\n'))).toEqual(['desk', 'shelf'])
    expect(await save(() => write('core/src/main.ts', '// 1\n'))).toEqual(['desk', 'shelf'])
  })

  it('of many files is told once', async () => {
    await start()
    await save(() => {
      for (let i = 0; i < 30; i++) write(`prices/src/part-${i}.ts`, 'export {}\n')
    })
    expect(changes).toHaveLength(1)
    expect(changes[0]!.files).toHaveLength(30)
  })

  it('is told for new files, new folders and removed ones', async () => {
    await start()
    expect(await save(() => write('shelf/src/rows/row.ts', 'export {}\n'))).toEqual(['shelf'])
    expect(await save(() => write('shelf/src/rows/row.ts', 'export { }\n'))).toEqual(['shelf'])
    expect(await save(() => rmSync(join(root, 'shelf/src/rows'), { recursive: true }))).toEqual(['shelf'])
    expect(await save(() => write('shelf/.env', 'SHELF_LOG_LEVEL=debug\n'))).toEqual(['shelf'])
  })

  it('of a migration says whose database it is for', async () => {
    await start()
    await save(() => write('desk/migrations/002-more.sql', 'select 1'))
    expect(changes.map(({ migrations }) => [...migrations])).toEqual([['desk']])
  })

  it('is told when git checks another commit out', async () => {
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: root, stdio: 'pipe' })
    write('.gitignore', 'node_modules\n')
    git('init', '--quiet', '--initial-branch=one')
    git('add', '.')
    git('commit', '--quiet', '--message=one')
    git('checkout', '--quiet', '-b', 'two')
    write('shelf/src/main.ts', '// another text of another length\n')
    write('shelf/src/new.ts', 'export {}\n')
    git('add', '.')
    git('commit', '--quiet', '--message=two')
    await start()
    for (const branch of ['one', 'two', 'one']) expect(await save(() => git('checkout', '--quiet', branch))).toEqual(['shelf'])
  })
})

it('is silent about what no service reads', async () => {
  await start()
  write('desk/src/main.test.ts', 'export {}\n')
  write('desk/src/.main.ts.swp', 'x')
  write('desk/src/main.ts~', 'x')
  write('desk/README.md', 'x')
  write('desk/dist/main.js', 'x')
  write('desk/reports/test.json', '{}')
  write('desk/node_modules/other/src/main.ts', 'export {}\n')
  write('tools/src/main.ts', '// a development dependency\n')
  // Told after them, so that they would have been told by now.
  expect(await save(() => write('shelf/src/main.ts', '// last\n'))).toEqual(['shelf'])
})
