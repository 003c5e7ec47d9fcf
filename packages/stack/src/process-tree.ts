import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { pause } from '@platform/kernel'

export interface ProcessRow {
  pid: number
  parent: number
  group: number
  /** When it began, in the system's own words: together with the pid it names one process for good. */
  start: string
}

/**
 * The living processes of a server: its leader, the leader's group and all their descendants, ancestors first. A process group alone is not
 * enough: every PostgreSQL backend leads a session of its own.
 */
export function processTree(leader: number, rows: readonly ProcessRow[] = listProcesses()): number[] {
  const members = new Set<number>()
  for (const row of rows) if (row.pid === leader || row.group === leader) members.add(row.pid)
  for (let grown = true; grown; ) {
    grown = false
    for (const row of rows) {
      if (members.has(row.parent) && !members.has(row.pid)) {
        members.add(row.pid)
        grown = true
      }
    }
  }
  return [...members].sort((a, b) => (a === leader ? -1 : b === leader ? 1 : a - b))
}

/** Stopping the leader first keeps it from starting further processes; the second look finds those begun in between. */
export function signalTree(leader: number, signal: NodeJS.Signals): void {
  const first = processTree(leader)
  for (const pid of first) send(pid, signal)
  for (const pid of processTree(leader)) if (!first.includes(pid)) send(pid, signal)
}

/** Resolves when nothing of the server is left alive, or after five seconds of trying. */
export async function killTree(leader: number, known: readonly number[] = processTree(leader)): Promise<void> {
  // Descendants of a dead leader lose their place in the tree, so those known before it dies are watched by pid.
  for (const pid of known) send(pid, 'SIGKILL')
  for (let attempt = 0; attempt < 500; attempt++) {
    const left = [...processTree(leader), ...known.filter(isAlive)]
    if (left.length === 0) return
    for (const pid of left) send(pid, 'SIGKILL')
    await pause(10)
  }
}

/** False for a zombie too: it runs nothing and holds nothing. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  return process.platform !== 'linux' || readRow(pid) !== undefined
}

/** When a living process began; undefined when it is over. */
export function startOf(pid: number): string | undefined {
  if (process.platform === 'linux') return readRow(pid)?.start
  return listProcesses().find((row) => row.pid === pid)?.start
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

export function listProcesses(): ProcessRow[] {
  if (process.platform !== 'linux') return listByPs()
  return readdirSync('/proc').flatMap((name) => {
    const row = /^\d+$/.test(name) ? readRow(Number(name)) : undefined
    return row ? [row] : []
  })
}

/** Positions after the command in /proc/<pid>/stat. */
const threadCount = 17
const startTicks = 19

function readRow(pid: number): ProcessRow | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The command stands in parentheses and may hold any character, so fields are counted from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, parent, group] = fields
  // A zombie whose other threads are still ending holds its ports until they have.
  const over = state === 'X' || (state === 'Z' && Number(fields[threadCount]) <= 1)
  return over ? undefined : { pid, parent: Number(parent), group: Number(group), start: fields[startTicks] ?? '' }
}

function listByPs(): ProcessRow[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,pgid=,state=,lstart='], {
    encoding: 'utf8',
    env: { PATH: '/bin:/usr/bin', LC_ALL: 'C' },
  })
  return table.split('\n').flatMap((line) => {
    const [pid, parent, group, state, ...start] = line.trim().split(/\s+/)
    if (state === undefined || state.startsWith('Z')) return []
    return [{ pid: Number(pid), parent: Number(parent), group: Number(group), start: start.join(' ') }]
  })
}
