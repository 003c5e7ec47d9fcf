import { readFile } from 'node:fs/promises'
import { basename, extname } from 'node:path'
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { optionError } from '../errors.ts'
import type { ReadOptions, Source, Tree } from '../source.ts'

export interface FileOptions {
  /** A missing file is no fault. Default false. */
  optional?: boolean | undefined
}

/** Settings from a `.yaml`, `.yml` or `.json` file in UTF-8. Relative paths start at the working directory. */
export function file(path: string, options: FileOptions = {}): Source {
  if (typeof path !== 'string' || !['.yaml', '.yml', '.json'].includes(extname(path)))
    throw optionError('path', 'the path of a .yaml, .yml or .json file')
  return {
    name: path,
    async read(readOptions) {
      const text = await readText(path, readOptions, options.optional === true)
      if (text === undefined || text.trim() === '') return {}
      return extname(path) === '.json' && !isJson(text, path, readOptions) ? {} : parse(text, path, readOptions)
    },
  }
}

async function readText(path: string, { signal, report }: ReadOptions, optional: boolean): Promise<string | undefined> {
  let content: Buffer
  try {
    content = await readFile(path, { signal })
  } catch (error) {
    signal?.throwIfAborted()
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') report.fault({ path: '', location: path, expected: `a file that can be read (${code ?? 'unreadable'})` })
    else if (!optional)
      report.fault({ path: '', location: path, expected: 'a file', hint: 'there is none; pass { optional: true } if that is fine' })
    return undefined
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content)
  } catch {
    report.fault({ path: '', location: path, expected: 'text in UTF-8' })
    return undefined
  }
}

/** Messages of parsers quote the text, which may hold a secret: only the place is taken from them. */
function isJson(text: string, path: string, { report }: ReadOptions): boolean {
  try {
    JSON.parse(text)
    return true
  } catch (error) {
    const position = /at position (\d+)/.exec((error as Error).message)?.[1]
    const line = position === undefined ? undefined : text.slice(0, Number(position)).split('\n').length
    report.fault({ path: '', location: line === undefined ? path : `${path}:${line}`, expected: 'valid JSON' })
    return false
  }
}

function parse(text: string, path: string, { report }: ReadOptions): Tree {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const problems = [...document.errors, ...document.warnings]
  for (const { code, pos } of problems) {
    const expected = code === 'DUPLICATE_KEY' ? 'each key once' : `valid ${extname(path).slice(1).toUpperCase()} (${code})`
    report.fault({ path: '', location: `${path}:${lines.linePos(pos[0]).line}`, expected })
  }
  if (problems.length > 0) return {}
  let tree: unknown
  try {
    tree = document.toJS()
  } catch {
    report.fault({ path: '', location: path, expected: 'aliases that resolve, and not in masses' })
    return {}
  }
  if (tree === null) return {}
  if (typeof tree !== 'object' || Array.isArray(tree)) {
    report.fault({ path: '', location: path, expected: `keys with values at the top of ${basename(path)}` })
    return {}
  }
  locate(document.contents, [], document, (at, offset) => report.at(at, `${path}:${lines.linePos(offset).line}`))
  return tree as Tree
}

function locate(
  node: Node | null,
  path: readonly string[],
  document: Document,
  at: (path: readonly string[], offset: number) => void,
): void {
  const target = isAlias(node) ? node.resolve(document) : node
  if (path.length > 64) return
  if (isMap(target))
    for (const { key, value } of target.items) {
      const inner = [...path, String(isScalar(key) ? key.value : key)]
      const place = (value as Node | null)?.range ?? (key as Node | null)?.range
      if (place) at(inner, place[0])
      locate(value as Node | null, inner, document, at)
    }
  else if (isSeq(target)) target.items.forEach((item, index) => locate(item as Node, [...path, String(index)], document, at))
}
