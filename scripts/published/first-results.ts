import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LocalRegistry } from '../local-registry.ts'
import { root } from '../pinned-node.ts'
import type { Check } from './checks.ts'
import type { Project } from './project.ts'

/** What to call it, and its program. */
export type Runtimes = Readonly<Record<string, string>>

const lineLimit = 20

/** The first lines of each README, as an ES module and as CommonJS, on every runtime. */
export async function checkFirstResults(
  project: Project,
  { packages }: LocalRegistry,
  check: Check,
  { runtimes, env }: { runtimes: Runtimes; env: Readonly<Record<string, string>> },
): Promise<void> {
  for (const { name, folder } of packages) {
    const code = firstLines(folder)
    await check(`README of ${name} has a first result in ${lineLimit} lines`, () => checkLength(code))
    await check(`README of ${name} has its parts in order`, () => checkParts(folder))
    if (!code) continue
    const { language, text } = code
    const programs = { [`m${language}`]: text, [`c${language}`]: asCommonJs(text) }
    for (const [ending, program] of Object.entries(programs)) {
      const file = `${name.split('/')[1]}.${ending}`
      writeFileSync(join(project.folder, file), program)
      for (const [runtime, node] of Object.entries(runtimes)) {
        await check(`README of ${name}, .${ending}, ${runtime}`, () => project.run(file, { command: [node], env }))
      }
    }
  }
}

interface Code {
  /** TypeScript is run as it stands: Node takes the types away. */
  readonly language: 'js' | 'ts'
  readonly text: string
}

/** The first block of code in a package's README. */
function firstLines(folder: string): Code | undefined {
  const readme = readFileSync(join(root, folder, 'README.md'), 'utf8')
  const [, language, text] = /```(js|ts)\n(.*?)```/s.exec(readme) ?? []
  return text === undefined ? undefined : { language: language as Code['language'], text }
}

function checkLength(code: Code | undefined): void {
  if (code === undefined) throw new Error('no block of code')
  const lines = code.text.trimEnd().split('\n').length
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
    if (line.startsWith('import type ')) continue
    if (from && name) requires.push(`const { default: ${name} = require(${from}) } = require(${from})`)
    else if (from) requires.push(`const ${namespace ?? valuesOf(members!)} = require(${from})`)
    else if (bare.test(line)) requires.push(`require(${bare.exec(line)![1]})`)
    else body.push(line)
  }
  return `${requires.join('\n')}\nasync function main() {\n${body.join('\n')}\n}\nmain().catch((error) => { console.error(error); process.exitCode = 1 })\n`
}

/** `{ a, type B, c as d }` as a pattern: `{ a, c: d }`. */
function valuesOf(members: string): string {
  const values = members
    .slice(1, -1)
    .split(',')
    .filter((member) => !member.trim().startsWith('type '))
  return `{${values.join(',').replaceAll(' as ', ': ')} }`
}
