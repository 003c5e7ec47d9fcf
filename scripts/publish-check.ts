import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type LocalRegistry, publishLocally } from './local-registry.ts'
import { bin, root } from './pinned-node.ts'

const execute = promisify(execFile)

/** Where the servers of the READMEs' first lines are. */
export type Addresses = Readonly<Record<'DATABASE_URL' | 'REDIS_URL' | 'AMQP_URL' | 'CONSUL_URL', string>>

const lineLimit = 20
/** What to call it, and its program. */
export type Runtimes = Readonly<Record<string, string>>

const pinnedRuntimes: Runtimes = { 'node 24': process.execPath, 'node 22': join(root, 'node_modules/node22/bin/node') }

/**
 * Publishes to a local registry, checks what was packed, installs it into a project outside of the workspace and runs the first lines of
 * each README there, as an ES module and as CommonJS, on every runtime.
 */
export async function checkPublished(
  addresses: Addresses,
  runtimes: Runtimes = pinnedRuntimes,
): Promise<{ passed: number; failed: number }> {
  await using registry = await publishLocally({ onProgress: (line) => console.log(`  ${line}`) })
  let passed = 0
  let failed = 0
  const check = async (name: string, work: () => Promise<unknown>) => {
    try {
      await work()
      passed++
    } catch (error) {
      failed++
      const { message, stdout, stderr } = error as Error & { stdout?: string; stderr?: string }
      console.error(`FAIL ${name}: ${message}\n${stdout ?? ''}${stderr ?? ''}`)
    }
  }

  for (const { name, tarball } of registry.packages) {
    await check(`publint ${name}`, () => execute(bin('publint'), ['run', tarball, '--strict']))
    await check(`attw ${name}`, () => execute(bin('attw'), [tarball, '--profile', 'esm-only']))
  }

  const project = mkdtempSync(join(tmpdir(), 'platform-consumer-'))
  try {
    await check('pnpm add of all packages', () => install(project, registry))
    for (const { name, folder } of registry.packages) {
      const code = firstLines(folder)
      await check(`README of ${name} has a first result in ${lineLimit} lines`, async () => checkLength(code))
      await check(`README of ${name} has its parts in order`, async () => checkParts(folder))
      if (!code) continue
      const programs = { mjs: code, cjs: asCommonJs(code) }
      for (const [ending, text] of Object.entries(programs)) {
        const file = join(project, `${name.split('/')[1]}.${ending}`)
        writeFileSync(file, text)
        for (const [runtime, node] of Object.entries(runtimes)) {
          await check(`README of ${name}, .${ending}, ${runtime}`, () =>
            execute(node, [file], { cwd: project, env: { PATH: process.env['PATH'], ...addresses }, timeout: 60_000 }),
          )
        }
      }
    }
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
  console.log(`  ${passed} checks of ${registry.packages.length} packages passed, ${failed} failed`)
  return { passed, failed }
}

/** All packages and the peers that any of them names, in the versions of this workspace. */
async function install(project: string, { url, packages }: LocalRegistry): Promise<void> {
  const peers = new Set<string>()
  for (const { manifest } of packages) {
    for (const [peer, range] of Object.entries(manifest.peerDependencies ?? {})) {
      if (!peer.startsWith('@platform/')) peers.add(`${peer}@${range}`)
    }
  }
  // Nest's own peers, which a Nest application has.
  const nest = ['reflect-metadata', 'rxjs', '@nestjs/platform-express']
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'consumer', private: true }))
  writeFileSync(join(project, '.npmrc'), `@platform:registry=${url}\n`)
  writeFileSync(join(project, 'pnpm-workspace.yaml'), 'minimumReleaseAge: 0\nstrictDepBuilds: false\n')
  await execute('pnpm', ['add', ...packages.map(({ name }) => name), ...peers, ...nest], { cwd: project })
}

/** The first block of JavaScript in a package's README. */
function firstLines(folder: string): string | undefined {
  const readme = readFileSync(join(root, folder, 'README.md'), 'utf8')
  return /```(?:js|javascript|ts|typescript)\n(.*?)```/s.exec(readme)?.[1]
}

function checkLength(code: string | undefined): void {
  if (code === undefined) throw new Error('no block of JavaScript')
  const lines = code.trimEnd().split('\n').length
  if (lines > lineLimit) throw new Error(`${lines} lines`)
}

const parts = [/^Guarantees/, /^Options/, /^When /, /^Metrics/, /^Errors/]

/** What a reader looks for stands in the same order everywhere, whatever a package has in between. */
function checkParts(folder: string): void {
  const headings = readFileSync(join(root, folder, 'README.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('## '))
    .map((line) => line.slice(3))
  const places = parts.map((part) => headings.findIndex((heading) => part.test(heading)))
  const missing = parts.filter((_, index) => places[index] === -1)
  if (missing.length > 0) throw new Error(`no heading ${missing.join(', ')}`)
  if (places.some((place, index) => index > 0 && place < places[index - 1]!)) throw new Error(headings.join(' | '))
}

/** The same lines for `require`: imports become requires, and an async function takes the place of top-level await. */
function asCommonJs(code: string): string {
  const isImport = /^import (?:(\w+)|\* as (\w+)|(\{[^}]*\})) from ('[^']+')$/
  const bare = /^import ('[^']+')$/
  const requires: string[] = []
  const body: string[] = []
  for (const line of code.split('\n')) {
    const [, name, namespace, members, from] = isImport.exec(line) ?? []
    if (from && name) requires.push(`const { default: ${name} = require(${from}) } = require(${from})`)
    else if (from) requires.push(`const ${namespace ?? members!.replaceAll(' as ', ': ')} = require(${from})`)
    else if (bare.test(line)) requires.push(`require(${bare.exec(line)![1]})`)
    else body.push(line)
  }
  return `${requires.join('\n')}\nasync function main() {\n${body.join('\n')}\n}\nmain().catch((error) => { console.error(error); process.exitCode = 1 })\n`
}
