import { cleanFunctions, lastingFunctions } from './functions.ts'
import { scan, type Token } from './scanner.ts'

/**
 * What a text may leave behind in its session:
 * nothing, by what stands in it; something that cannot be excluded; something for certain; something that only a new connection removes.
 */
export type Residue = 'none' | 'possible' | 'certain' | 'lasting'

/** A step of a transaction, in the order of the text. Names are as the server compares them. */
export interface Control {
  readonly verb: 'begin' | 'commit' | 'rollback' | 'savepoint' | 'release' | 'rollback to'
  readonly name: string
}

export interface Statement {
  /** First word, upper case, one of a fixed list: for metrics, spans and error facts. */
  readonly operation: string
  readonly residue: Residue
  readonly controls: readonly Control[]
  /** False: the server would read less than stands there, and take the rest for another message. */
  readonly sendable: boolean
}

const operations = new Set(
  'SELECT INSERT UPDATE DELETE MERGE WITH VALUES BEGIN START COMMIT END ROLLBACK SAVEPOINT RELEASE CREATE ALTER DROP TRUNCATE COPY SET SHOW LISTEN NOTIFY CALL DO EXPLAIN LOCK VACUUM ANALYZE REFRESH FETCH'.split(
    ' ',
  ),
)
const weight: Record<Residue, number> = { none: 0, possible: 1, certain: 2, lasting: 3 }
const cache = new Map<string, Statement>()
const cacheLimit = 1_000

/** Programs run few different texts many times: each is looked at once. */
export function statementOf(text: string): Statement {
  const cached = cache.get(text)
  if (cached !== undefined) return cached
  // Callers without types: `pg` will refuse it.
  if (typeof text !== 'string') return { operation: 'OTHER', residue: 'none', controls: [], sendable: true }
  const statement = read(text)
  if (text.length <= 4_096) {
    if (cache.size >= cacheLimit) cache.clear()
    cache.set(text, statement)
  }
  return statement
}

function read(text: string): Statement {
  let operation = 'OTHER'
  let residue: Residue = 'none'
  const controls: Control[] = []
  let tokens: Token[] = []
  const close = (): void => {
    if (tokens.length === 0) return
    const verb = leadingWord(tokens)
    if (operation === 'OTHER' && operations.has(verb.toUpperCase())) operation = verb.toUpperCase()
    const left = residueOf(verb, tokens)
    if (weight[left] > weight[residue]) residue = left
    const control = controlOf(verb, tokens)
    if (control !== undefined) controls.push(control)
    tokens = []
  }
  for (const token of scan(text)) {
    if (token.kind === 'mark' && token.text === ';') close()
    else tokens.push(token)
  }
  close()
  return { operation, residue, controls, sendable: !text.includes('\0') }
}

function leadingWord(tokens: readonly Token[]): string {
  const first = tokens.find((token) => !(token.kind === 'mark' && token.text === '('))
  return first?.kind === 'word' ? first.text : ''
}

const wordAt = (tokens: readonly Token[], index: number): string => {
  const token = tokens[index]
  return token?.kind === 'word' ? token.text : ''
}

function residueOf(verb: string, tokens: readonly Token[]): Residue {
  if (tokens.some(({ kind }) => kind === 'doubt')) return 'possible'
  const second = wordAt(tokens, 1)
  switch (verb) {
    case 'select':
    case 'with':
    case 'values':
    case 'table':
    case 'insert':
    case 'update':
    case 'delete':
    case 'merge':
      return expressionResidue(tokens)
    case 'begin':
    case 'start':
    case 'commit':
    case 'end':
    case 'abort':
    case 'rollback':
    case 'savepoint':
    case 'release':
    case 'show':
    case 'notify':
    case 'lock':
    case 'fetch':
    case 'move':
    case 'close':
      return 'none'
    case 'set':
      // These end with the transaction.
      return ['local', 'transaction', 'constraints'].includes(second) ? 'none' : 'certain'
    case 'listen':
      return 'certain'
    case 'create':
      return tokens.some((token) => 'text' in token && /^(temp|temporary|pg_temp)$/.test(token.text)) ? 'certain' : 'possible'
    case 'prepare':
      return second === 'transaction' ? 'none' : 'lasting'
    // `pg` keeps its own list of named statements per connection, which these would belie.
    case 'deallocate':
    case 'discard':
    case 'load':
      return 'lasting'
    default:
      return 'possible'
  }
}

/**
 * Words that can stand before a parenthesis and are never the name of a function: the reserved ones of SQL, and those with a syntax of their
 * own. Words that may be a function's name as well (`filter`, `join`, `set`) are told by what stands around them, or cost a reset.
 */
const notCalled = new Set(
  'all and any array as asc case cast check coalesce default desc distinct do else end except exists extract fetch for from greatest group grouping having in intersect into lateral least limit not nullif offset on only or order overlay position returning row select some substring table then to trim union unique using values when where window with between bigint bit boolean char character dec decimal float int integer interval national nchar numeric real smallint time timestamp varchar'.split(
    ' ',
  ),
)
const subqueries = new Set(['select', 'with', 'values', 'table'])

function isCall(tokens: readonly Token[], index: number, start: number): boolean {
  const token = tokens[index] as Token & { text: string }
  const before = wordAt(tokens, start - 1)
  // An argument that is a query has parentheses of its own.
  if (subqueries.has(wordAt(tokens, index + 2))) return false
  // `insert into films (title)`, `as t (title)`, `with t (title) as`
  if (['into', 'as', 'with', 'recursive'].includes(before)) return false
  if (token.kind === 'quoted' || start !== index) return true
  if (notCalled.has(token.text)) return false
  if (token.text === 'by') return !['order', 'group', 'partition'].includes(before)
  if (token.text === 'conflict') return before !== 'on'
  const previous = tokens[index - 1]
  // `count(*) over (…)`, `sum(n) filter (…)`
  if (token.text === 'over' || token.text === 'filter') return !(previous?.kind === 'mark' && previous.text === ')')
  return true
}

/** Nothing, when each function that the text calls is one of the server's that touch nothing of the session. */
function expressionResidue(tokens: readonly Token[]): Residue {
  let residue = 'none' as Residue
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index] as Token
    if (token.kind === 'word' && token.text === 'into' && !['insert', 'merge'].includes(wordAt(tokens, index - 1))) return 'certain'
    const next = tokens[index + 1]
    if (next?.kind !== 'mark' || next.text !== '(' || (token.kind !== 'word' && token.kind !== 'quoted')) continue
    const { start, schema } = qualification(tokens, index)
    if (!isCall(tokens, index, start)) continue
    const known = schema === undefined || schema === 'pg_catalog'
    if (known && lastingFunctions.has(token.text)) return 'lasting'
    if (known && cleanFunctions.has(token.text)) continue
    const called = known && token.text === 'set_config' ? lastArgument(tokens, index + 1) : ''
    if (called === 'true') continue
    const certain = called === 'false' || (known && locks.test(token.text))
    if (certain) residue = 'certain'
    else if (residue === 'none') residue = 'possible'
  }
  return residue
}

const locks = /^pg_(try_)?advisory_lock(_shared)?$/

/** The last argument of the call whose parenthesis opens at `open`, when it is one word. */
function lastArgument(tokens: readonly Token[], open: number): string {
  let depth = 0
  for (let index = open; index < tokens.length; index++) {
    const token = tokens[index] as Token
    if (token.kind !== 'mark') continue
    if (token.text === '(') depth++
    if (token.text !== ')' || --depth > 0) continue
    const comma = tokens[index - 2]
    return comma?.kind === 'mark' && comma.text === ',' ? wordAt(tokens, index - 1) : ''
  }
  return ''
}

/** Where a dotted name begins that ends at `index`, and what stands before its last dot. */
function qualification(tokens: readonly Token[], index: number): { start: number; schema: string | undefined } {
  let start = index
  let schema: string | undefined
  for (;;) {
    const dot = tokens[start - 1]
    const name = tokens[start - 2]
    if (dot?.kind !== 'mark' || dot.text !== '.' || (name?.kind !== 'word' && name?.kind !== 'quoted')) return { start, schema }
    start -= 2
    schema ??= name.text
  }
}

function controlOf(verb: string, tokens: readonly Token[]): Control | undefined {
  const second = wordAt(tokens, 1)
  switch (verb) {
    case 'begin':
    case 'start':
      return { verb: 'begin', name: '' }
    case 'commit':
    case 'end':
      return second === 'prepared' ? undefined : { verb: 'commit', name: '' }
    case 'prepare':
      return second === 'transaction' ? { verb: 'rollback', name: '' } : undefined
    case 'savepoint':
      return { verb: 'savepoint', name: nameAt(tokens, 1) }
    case 'release':
      return { verb: 'release', name: nameAt(tokens, second === 'savepoint' && tokens.length > 2 ? 2 : 1) }
    case 'abort':
    case 'rollback': {
      if (second === 'prepared') return undefined
      const to = ['work', 'transaction'].includes(second) ? 2 : 1
      if (wordAt(tokens, to) !== 'to') return { verb: 'rollback', name: '' }
      return {
        verb: 'rollback to',
        name: nameAt(tokens, wordAt(tokens, to + 1) === 'savepoint' && tokens.length > to + 2 ? to + 2 : to + 1),
      }
    }
    default:
      return undefined
  }
}

/** As the server keeps it: folded unless quoted, cut to 63 bytes. */
function nameAt(tokens: readonly Token[], index: number): string {
  const token = tokens[index]
  if (token?.kind !== 'word' && token?.kind !== 'quoted') return ''
  const bytes = Buffer.from(token.text)
  if (bytes.length <= 63) return token.text
  let end = 63
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.subarray(0, end).toString()
}
