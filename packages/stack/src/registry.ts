/**
 * Which servers a run has started: a folder of the run, with a file for each supervisor and each program of one. Programs overwrite their
 * environment and their command, so neither can tell whose they are; what was written down when they were started can.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onMachine, StackError } from './errors.ts'
import { type ProcessRow, processTree } from './process-tree.ts'

/** A process and when it began: the pid alone may be somebody else's by now. */
export interface Identity {
  pid: number
  start: string
}

export interface Entry extends Identity {
  /** The process for which the server was started. */
  owner: Identity
  command: string
}

/** Not in TMPDIR: every process of a run must look in the same place. */
const place = '/tmp'
const folderPrefix = 'platform-stack-run-'

function ownHome(): string {
  return join(place, `${folderPrefix}${process.getuid?.() ?? 0}`)
}

export function enter(run: string, entry: Entry): void {
  onMachine('writing down which server was started', () => {
    const home = ownHome()
    mkdirSync(home, { recursive: true, mode: 0o700 })
    const { uid } = lstatSync(home)
    if (!lstatSync(home).isDirectory() || uid !== process.getuid?.()) {
      throw new StackError('ERR_STACK_SYSTEM', `${home} belongs to somebody else; remove it`)
    }
    const folder = join(home, run)
    const text = JSON.stringify(entry)
    // Whoever removes the last entry removes the folder, perhaps between these two lines.
    for (let attempt = 1; ; attempt++) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      try {
        const draft = join(folder, `.${entry.pid}`)
        writeFileSync(draft, text)
        renameSync(draft, join(folder, String(entry.pid)))
        return
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === 100) throw error
      }
    }
  })
}

export function leave(run: string, pid: number): void {
  remove(join(ownHome(), run), pid)
}

function remove(folder: string, pid: number): void {
  try {
    rmSync(join(folder, String(pid)), { force: true })
    rmdirSync(folder)
  } catch {
    // others are still in it, or it is another user's
  }
}

/** What every user of this machine that this one may look at has written down for the run. Those of processes that are over are forgotten. */
export function livingEntries(run: string, rows: readonly ProcessRow[]): (Entry & { processes: number[] })[] {
  const homes = readdirSync(place).filter((name) => name.startsWith(folderPrefix))
  return homes.flatMap((home) => {
    const folder = join(place, home, run)
    return entriesOf(folder).flatMap((entry) => {
      const processes = processesOf(entry, rows)
      if (processes.length > 0) return [{ ...entry, processes }]
      remove(folder, entry.pid)
      return []
    })
  })
}

export function isSame({ pid, start }: Identity, rows: readonly ProcessRow[]): boolean {
  return rows.some((row) => row.pid === pid && row.start === start)
}

/** A pid is not given to another process while it names a group: members of the group of a dead leader are its own. */
function processesOf({ pid, start }: Entry, rows: readonly ProcessRow[]): number[] {
  const now = rows.find((row) => row.pid === pid)
  return now !== undefined && now.start !== start ? [] : processTree(pid, rows)
}

function entriesOf(folder: string): Entry[] {
  let names: string[]
  try {
    names = readdirSync(folder).filter((name) => /^\d+$/.test(name))
  } catch {
    return []
  }
  return names.flatMap((name) => {
    try {
      return [JSON.parse(readFileSync(join(folder, name), 'utf8')) as Entry]
    } catch {
      return [] // gone meanwhile
    }
  })
}
