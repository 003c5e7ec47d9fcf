/** What a statement may leave behind in its session once it is done: nothing, something that a reset removes, or something that only a new connection removes. */
export type Residue = 'none' | 'reset' | 'discard'

export interface Statement {
  /** First word, upper case, one of a fixed list: for metrics, spans and error facts. */
  readonly operation: string
  readonly residue: Residue
}

const gap = String.raw`(?:\s|--[^\n]*\n|/\*[\s\S]*?\*/)*`
const start = String.raw`(?:^|;)${gap}`
const leavesState = new RegExp(
  [
    // SET LOCAL, SET TRANSACTION and SET CONSTRAINTS end with the transaction.
    String.raw`${start}(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|listen\b|load\b|declare\b[\s\S]*\bwith\s+hold\b)`,
    String.raw`\bset_config\s*\(`,
    String.raw`\bpg_(?:try_)?advisory_lock`,
    String.raw`\b(?:create|into)\s+(?:local\s+|global\s+)?temp(?:orary)?\b`,
  ].join('|'),
  'i',
)
// `pg` keeps its own list of named statements per connection: DEALLOCATE ALL would break it, so SQL-level PREPARE costs the connection.
const leavesPrepared = new RegExp(String.raw`${start}(?:prepare\s+(?!transaction\b)|deallocate\b|discard\b)`, 'i')
const firstWord = new RegExp(String.raw`^${gap}([a-z]+)`, 'i')
const operations = new Set(
  'SELECT INSERT UPDATE DELETE MERGE WITH VALUES BEGIN START COMMIT END ROLLBACK SAVEPOINT RELEASE CREATE ALTER DROP TRUNCATE COPY SET SHOW LISTEN NOTIFY CALL DO EXPLAIN LOCK VACUUM ANALYZE REFRESH FETCH'.split(
    ' ',
  ),
)

const cache = new Map<string, Statement>()
const cacheLimit = 1_000

/** Programs run few different texts many times: each is looked at once. */
export function statementOf(text: string): Statement {
  const cached = cache.get(text)
  if (cached !== undefined) return cached
  // Callers without types: `pg` will refuse it.
  if (typeof text !== 'string') return { operation: 'OTHER', residue: 'none' }
  const word = firstWord.exec(text)?.[1]?.toUpperCase() ?? ''
  const statement: Statement = {
    operation: operations.has(word) ? word : 'OTHER',
    residue: leavesPrepared.test(text) ? 'discard' : leavesState.test(text) ? 'reset' : 'none',
  }
  if (text.length <= 4_096) {
    if (cache.size >= cacheLimit) cache.clear()
    cache.set(text, statement)
  }
  return statement
}

/** Everything of DISCARD ALL except the prepared statements and their plans. */
export const resetSession =
  'close all; set session authorization default; reset role; reset all; unlisten *; select pg_advisory_unlock_all(); discard temp; discard sequences'
