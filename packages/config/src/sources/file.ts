import { extname, join } from 'node:path'
import { existsSync } from 'node:fs'
import { parse as parseToml, TomlError } from 'smol-toml'
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { optionError } from '../errors.ts'
import type { ReadOptions, Source, Tree } from '../source.ts'
import { assertFollowOptions, followFiles, type FollowOptions } from './follow-files.ts'
import { refuseInexact } from './exact-integers.ts'
import { generationAround, generationOf } from './generation.ts'
import { locateToml } from './toml-lines.ts'
import { defaultMaxBytes, readTextFile } from './text-file.ts'

export interface FileOptions extends FollowOptions {
  /** A missing file is no fault. Default false. */
  optional?: boolean | undefined
  /** A larger file is a fault. Default 1048576. */
  maxBytes?: number | undefined
}

const extensions = ['.yaml', '.yml', '.json', '.toml']

/** Settings from a `.yaml`, `.yml`, `.json` or `.toml` file in UTF-8. Relative paths start at the working directory. */
export function file(path: string, options: FileOptions = {}): Source {
  if (typeof path !== 'string' || !extensions.includes(extname(path)))
    throw optionError('path', 'the path of a .yaml, .yml, .json or .toml file')
  assertFileOptions(options)
  return {
    name: path,
    read: (readOptions) => readSettings(path, options, readOptions),
    generation: () => generationAround([path]),
    watch: (changed) => followFiles(() => [path], changed, options),
  }
}

export interface FilesOptions extends Omit<FileOptions, 'optional'> {
  /** `production`: the name of the second file. Letters, digits, `-` and `_`. */
  environment: string
}

/**
 * `default.yaml` for all environments, then `production.yaml` for one; each may be missing, and each may end in `.yaml`, `.yml`, `.json`
 * or `.toml`, but not in two of them. Spread it: `sources: [...files('config', { environment })]`.
 */
export function files(directory: string, options: FilesOptions): Source[] {
  const { environment, ...rest } = options
  if (typeof directory !== 'string' || directory === '') throw optionError('directory', 'the path of a directory')
  if (typeof environment !== 'string' || !/^[\w-]+$/.test(environment)) throw optionError('environment', 'letters, digits, - and _')
  assertFileOptions(rest)
  return [...new Set(['default', environment])].map((name): Source => {
    const candidates = extensions.map((extension) => join(directory, `${name}${extension}`))
    return {
      name: join(directory, name),
      async read(readOptions) {
        const [path, second] = candidates.filter((candidate) => existsSync(candidate))
        if (path === undefined) return {}
        if (second === undefined) return readSettings(path, { ...rest, optional: true }, readOptions)
        readOptions.report.fault({ path: '', location: path, expected: `either ${path} or ${second}, not both` })
        return {}
      },
      generation: () => generationOf([directory]),
      watch: (changed) => followFiles(() => candidates, changed, rest),
    }
  })
}

function assertFileOptions(options: FileOptions): void {
  assertFollowOptions(options)
  const { maxBytes = defaultMaxBytes } = options
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 1) throw optionError('maxBytes', 'a whole number of bytes')
}

export async function readSettings(path: string, options: FileOptions, readOptions: ReadOptions): Promise<Tree> {
  const text = await readTextFile(path, readOptions, options)
  if (text === undefined) return {}
  if (isEmptied(text)) {
    // What a full disk or an interrupted write leaves must not become the defaults.
    readOptions.report.fault({ path: '', location: path, expected: 'a file that is not empty', hint: 'write {} for no settings' })
    return {}
  }
  if (extname(path) === '.toml') return parseTomlText(text, path, readOptions)
  return extname(path) === '.json' && !isJson(text, path, readOptions) ? {} : parseYamlText(text, path, readOptions)
}

/** Nothing but marks of a YAML document. A comment says that somebody meant it. */
function isEmptied(text: string): boolean {
  return text.split('\n').every((line) => ['', '---', '...', 'null', '~'].includes(line.trim()))
}

function parseTomlText(text: string, path: string, options: ReadOptions): Tree {
  const { report } = options
  try {
    const tree = parseToml(text, { maxDepth: 64, unsafeKeyBehaviour: 'keep', integersAsBigInt: 'asNeeded' }) as Record<string, unknown>
    const places = new Places(path, report)
    locateToml(text, (at, line) => places.add(at, line))
    refuseInexact(tree, places.of, options)
    return tree
  } catch (error) {
    const place = error instanceof TomlError ? `${path}:${error.line}` : path
    report.fault({ path: '', location: place, expected: 'valid TOML' })
    return {}
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

function parseYamlText(text: string, path: string, options: ReadOptions): Tree {
  const { report } = options
  if (isTooDeep(text)) {
    report.fault({ path: '', location: path, expected: 'at most 64 levels' })
    return {}
  }
  const lines = new LineCounter()
  let document: Document.Parsed
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, intAsBigInt: true })
  } catch {
    report.fault({ path: '', location: path, expected: 'fewer levels' })
    return {}
  }
  const problems = [...document.errors, ...document.warnings]
  for (const { code, pos } of problems) {
    const expected = code === 'DUPLICATE_KEY' ? 'each key once' : `valid ${extname(path).slice(1).toUpperCase()} (${code})`
    report.fault({ path: '', location: `${path}:${lines.linePos(pos[0]).line}`, expected })
  }
  if (problems.length > 0) return {}
  let tree: unknown
  try {
    tree = document.toJS({ reviver: (_key, value: unknown) => (typeof value === 'bigint' ? exactNumber(value) : value) })
  } catch {
    report.fault({ path: '', location: path, expected: 'aliases that resolve, and not in masses' })
    return {}
  }
  if (tree === null) return {}
  if (typeof tree !== 'object' || Array.isArray(tree)) {
    report.fault({ path: '', location: path, expected: `keys with values at the top of the file` })
    return {}
  }
  const places = new Places(path, report)
  locate(document.contents, [], document, (at, offset) => places.add(at, lines.linePos(offset).line))
  refuseInexact(tree as Record<string, unknown>, places.of, options)
  return tree as Tree
}

function exactNumber(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** Where the settings of a file stand. */
class Places {
  readonly #file: string
  readonly #report: ReadOptions['report']
  readonly #lines = new Map<string, string>()

  constructor(file: string, report: ReadOptions['report']) {
    this.#file = file
    this.#report = report
  }

  add(at: readonly string[], line: number): void {
    const place = `${this.#file}:${line}`
    this.#lines.set(at.join('.'), place)
    this.#report.at(at, place)
  }

  /** An item of a list stands where its list does. */
  readonly of = (path: readonly string[]): string => {
    const around = path.map((_, index) => path.slice(0, path.length - index).join('.'))
    return around.map((at) => this.#lines.get(at)).find((place) => place !== undefined) ?? this.#file
  }
}

/** Counts brackets, also those in texts: far above what settings have, far below what the parser's recursion survives. */
function isTooDeep(text: string): boolean {
  let depth = 0
  for (const character of text) {
    if (character === '[' || character === '{') depth++
    else if (character === ']' || character === '}') depth--
    if (depth > 500) return true
  }
  return /^ {1000}|^(?:- ?){500}/m.test(text)
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
