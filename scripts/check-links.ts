/** Every link between pages leads to a file that is there, and to a heading that it has; and every decision stands in the list of them. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { root } from './pinned-node.ts'

const pages = globSync(
  ['*.md', '.github/**/*.md', '.changeset/*.md', 'docs/**/*.md', 'examples/**/*.md', 'packages/*/README.md', 'api/*.md'],
  {
    cwd: root,
    exclude: ['**/node_modules/**', '**/CHANGELOG.md'],
  },
).toSorted()
const texts = new Map(pages.map((page) => [page, withoutCode(readFileSync(join(root, page), 'utf8'))]))
const headings = new Map([...texts].map(([page, text]) => [page, anchorsOf(text)]))

const broken = [...texts].flatMap(([page, text]) =>
  [...text.matchAll(/\]\((?<target>[^)\s]+)\)/g)].flatMap(({ groups }) => {
    const problem = problemOf(page, groups!['target']!)
    return problem === undefined ? [] : [`${page}: ${problem}`]
  }),
)

const list = 'docs/decisions/README.md'
for (const page of pages.filter((each) => dirname(each) === dirname(list) && each !== list)) {
  const name = page.slice(dirname(list).length + 1)
  if (!texts.get(list)!.includes(`(${name})`)) broken.push(`${list}: does not list ${name}`)
}
for (const line of broken) console.error(line)
process.exitCode = broken.length === 0 ? 0 : 1

function problemOf(page: string, target: string): string | undefined {
  if (/^[a-z]+:/.test(target)) return undefined
  const [path = '', anchor] = target.split('#')
  const file = path === '' ? page : normalize(join(dirname(page), path))
  if (!existsSync(join(root, file))) return `${target} leads to no file`
  const known = headings.get(file)
  return anchor === undefined || known === undefined || known.has(anchor) ? undefined : `${target} leads to no heading`
}

function withoutCode(text: string): string {
  return text.replaceAll(/^(`{3,})[^\n]*\n.*?^\1$/gms, '').replaceAll(/<!--.*?-->/gs, '')
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): ReadonlySet<string> {
  const titles = [...text.matchAll(/^#{1,6} (?<title>.+)$/gm)].map(({ groups }) => groups!['title']!)
  return new Set(
    titles.map((title) =>
      title
        .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  )
}
