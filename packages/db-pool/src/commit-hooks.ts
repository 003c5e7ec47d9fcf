import { AsyncResource } from 'node:async_hooks'
import { guarded } from '@platform/kernel'
import type { QueryResult } from './connection.ts'
import type { Control } from './sql/statement.ts'

type Run = () => void | Promise<void>
type Status = 'I' | 'T' | 'E'

/** The server's tags for the steps of a transaction. */
const tags = new Set(['BEGIN', 'START TRANSACTION', 'COMMIT', 'ROLLBACK', 'SAVEPOINT', 'RELEASE', 'PREPARE TRANSACTION'])

/**
 * Work bound to a commit, whoever drives the transaction: `db.transaction` or an ORM. It watches the statements of its session pass by and
 * goes by what the server answered, so a COMMIT that the server turned into a rollback counts as one.
 */
export class CommitHooks {
  /** `level`: how many savepoints it stands inside of. */
  #runs: { readonly run: Run; readonly level: number }[] = []
  #savepoints: string[] = []
  #committed: Run[] = []

  /** How many savepoints are open. */
  get level(): number {
    return this.#savepoints.length
  }

  add(run: Run, level: number = this.level): void {
    this.#runs.push({ run: AsyncResource.bind(run), level })
  }

  observe(controls: readonly Control[], answer: QueryResult | QueryResult[] | undefined, before: Status, after: Status): void {
    // No transaction was open: what is here belongs to one that ended with an error at its COMMIT.
    if (before === 'I') this.drop()
    const results = answer === undefined ? [] : Array.isArray(answer) ? answer : [answer]
    const steps = results.filter(({ command }) => tags.has(command))
    steps.forEach(({ command }, index) => this.#step(controls[index], command))
    if (after === 'I') this.drop()
  }

  /** What a COMMIT has set free since the last time. */
  takeCommitted(): readonly Run[] {
    return this.#committed.splice(0)
  }

  /** What the next COMMIT would set free. */
  get pending(): readonly Run[] {
    return this.#runs.map(({ run }) => run)
  }

  drop(): void {
    this.#runs = []
    this.#savepoints = []
  }

  #step(control: Control | undefined, command: string): void {
    if (command === 'COMMIT') {
      this.#committed.push(...this.#runs.map(({ run }) => run))
      this.drop()
    } else if (command === 'SAVEPOINT') {
      this.#savepoints.push(control?.name ?? '')
    } else if (command === 'RELEASE') {
      const index = this.#savepoints.lastIndexOf(control?.name ?? '')
      if (index < 0) return
      this.#savepoints.length = index
      this.#runs = this.#runs.map(({ run, level }) => ({ run, level: Math.min(level, index) }))
    } else if (command === 'ROLLBACK' && control?.verb === 'rollback to') {
      const index = this.#savepoints.lastIndexOf(control.name)
      this.#runs = this.#runs.filter(({ level }) => level <= index)
      this.#savepoints.length = index + 1
    } else {
      this.drop()
    }
  }
}

/** One after the other; a failure is told and changes nothing: the commit stands. */
export async function runAfterCommit(runs: readonly Run[], onError: (error: unknown) => void): Promise<void> {
  for (const run of runs) {
    try {
      await run()
    } catch (error) {
      guarded(() => onError(error))
    }
  }
}
