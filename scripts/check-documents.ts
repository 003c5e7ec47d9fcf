/**
 * Compiles every block of TypeScript and JavaScript in the READMEs and pages, as a strict project would. What a fragment leaves to its
 * reader stands in a comment before it, which no reader sees:
 *
 *     <!-- before
 *     declare const db: DbPool
 *     -->
 *
 * `<!-- file path -->` instead says that the block is that file, which is compiled where it stands.
 */
import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bin, root } from './pinned-node.ts'

interface Block {
  readonly document: string
  /** Of the first line of code, from 1. */
  readonly line: number
  /** What the block needs and does not show. */
  readonly before: string
  /** The file that the block repeats. */
  readonly file: string | undefined
  readonly code: string
}

const fence =
  /(?:<!-- (?:before\n(?<before>(?:(?!-->).)*)|file (?<file>\S+) )-->\n)?^```(?:js|javascript|ts|typescript)\n(?<code>.*?)^```$/gms

function blocksOf(document: string, text: string): Block[] {
  return [...text.matchAll(fence)].map((match) => {
    const { before = '', file, code } = match.groups as { before?: string; file?: string; code: string }
    const start = match.index + match[0].lastIndexOf(`\n${code}\`\`\``)
    return { document, line: text.slice(0, start).split('\n').length + 1, before, file, code }
  })
}

const documents = globSync(['*.md', 'packages/*/README.md', 'examples/**/*.md', 'docs/**/*.md'], {
  cwd: root,
  exclude: ['**/node_modules/**', '**/CHANGELOG.md'],
}).toSorted()
const blocks = documents.flatMap((document) => blocksOf(document, readFileSync(join(root, document), 'utf8')))

const folder = join(root, 'docs/.blocks')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder)
const fragments = blocks.filter(({ file }) => file === undefined)
const files = new Map(fragments.map((block) => [`${block.document.replaceAll('/', '+')}-${block.line}.ts`, block]))
// `export {}`: each is a module of its own, whatever it imports.
for (const [file, { before, code }] of files) writeFileSync(join(folder, file), `${before}${code}\nexport {}\n`)

const { stdout, status } = spawnSync(bin('tsc'), ['-p', join(root, 'docs/tsconfig.json'), '--pretty', 'false'], {
  cwd: root,
  encoding: 'utf8',
})
for (const line of stdout.split('\n').filter(Boolean)) console.error(inDocument(line))
console.log(
  `${blocks.length} blocks of code in ${new Set(blocks.map(({ document }) => document)).size} pages compile${status === 0 ? '' : ', or should'}`,
)
process.exitCode = status ?? 1
for (const { document, line, file, code } of blocks) {
  if (file === undefined || readFileSync(join(root, file), 'utf8') === code) continue
  console.error(`${document}:${line}: is not ${file}`)
  process.exitCode = 1
}

/** `docs/.blocks/X-12.ts(3,5): error …` as the line of the page; what is wrong in what the reader does not see is at the block's start. */
function inDocument(message: string): string {
  const [, file = '', line, column, rest] = /^docs\/\.blocks\/(.+)\((\d+),(\d+)\): (.*)$/.exec(message) ?? []
  const block = files.get(file)
  if (!block) return message
  const hidden = block.before.split('\n').length - 1
  const at = Number(line) - hidden
  return at < 1
    ? `${block.document}:${block.line} (before it, line ${line}): ${rest}`
    : `${block.document}:${block.line + at - 1}:${column}: ${rest}`
}
