import { AsyncResource } from 'node:async_hooks'

type Run = () => void | Promise<void>
type Status = 'I' | 'T' | 'E'

const savepointName = /\b(?:savepoint|release|to)\s+(?:savepoint\s+)?("(?:[^"]|"")+"|[\w$]+)\s*;?\s*$/i

/**
 * Work bound to a commit, for connections whose transaction is driven by others (an ORM): it watches the statements pass by and goes
 * by what the server answered, so a COMMIT that the server turned into a rollback counts as one.
 */
export class CommitHooks {
  #runs: Run[] = []
  #savepoints: { readonly name: string; readonly runs: number }[] = []

  add(run: Run): void {
    this.#runs.push(AsyncResource.bind(run))
  }

  /** The hooks to run now, if this statement was the commit. */
  observe(text: string, command: string, before: Status, status: Status): readonly Run[] {
    // No transaction was open: what is here belongs to one that ended with an error at its COMMIT.
    if (before === 'I') this.#take()
    if (command === 'COMMIT') return this.#take()
    if (command === 'SAVEPOINT') {
      this.#savepoints.push({ name: nameIn(text), runs: this.#runs.length })
    } else if (command === 'RELEASE') {
      const index = this.#find(text)
      if (index >= 0) this.#savepoints.length = index
    } else if (command === 'ROLLBACK' && status === 'T') {
      const index = this.#find(text)
      this.#runs.length = this.#savepoints[index]?.runs ?? 0
      this.#savepoints.length = index + 1
    } else if (status === 'I') {
      this.#take()
    }
    return []
  }

  drop(): void {
    this.#take()
  }

  #take(): readonly Run[] {
    const runs = this.#runs
    this.#runs = []
    this.#savepoints = []
    return runs
  }

  #find(text: string): number {
    const name = nameIn(text)
    return this.#savepoints.findLastIndex((savepoint) => savepoint.name === name)
  }
}

function nameIn(text: string): string {
  return savepointName.exec(text)?.[1] ?? ''
}

/** One after the other; a failure is told and changes nothing: the commit stands. */
export async function runAfterCommit(runs: readonly Run[], onError: (error: unknown) => void): Promise<void> {
  for (const run of runs) {
    try {
      await run()
    } catch (error) {
      onError(error)
    }
  }
}
