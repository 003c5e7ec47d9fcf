import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { StackError } from './errors.ts'
import { findExecutable } from './locate.ts'
import { isAlive, listProcesses } from './process-tree.ts'
import { isSame, livingEntries } from './registry.ts'

/** Names the run to which a server belongs; inherited by every process of the run. */
export const runVariable = 'PLATFORM_STACK_RUN'
/** The run and the owner, as labels of containers. */
export const runLabel = 'platform.stack.run'
export const ownerLabel = 'platform.stack.owner'

/** The run id in this process's environment; the first call of a run puts one there, so that children inherit it. */
export function runId(): string {
  return checkedRun((process.env[runVariable] ||= randomBytes(6).toString('hex')))
}

/** It names a folder. */
function checkedRun(run: string): string {
  if (/^[\w-]{1,64}$/.test(run)) return run
  throw new StackError('ERR_STACK_OPTION', `${runVariable} must be 1 to 64 letters, digits, hyphens and underscores`, {
    option: runVariable,
  })
}

export interface ServerProcess {
  /** Of a container: its first process, 0 while it has none. */
  pid: number
  /** The process that started the server. */
  owner: number
  ownerAlive: boolean
  command: string
  /** The name of the container, if it is one. */
  container?: string | undefined
}

/** Every living process of the servers and supervisors of a run, and its containers. */
export function findServerProcesses(run: string = runId()): ServerProcess[] {
  return [...findProcesses(checkedRun(run)), ...findContainers(run)]
}

function findProcesses(run: string): ServerProcess[] {
  const rows = listProcesses()
  const found = new Map<number, ServerProcess>()
  for (const { processes, owner, command } of livingEntries(run, rows)) {
    const ownerAlive = isSame(owner, rows)
    for (const pid of processes) found.set(pid, { pid, owner: owner.pid, ownerAlive, command: commandOf(pid) ?? command })
  }
  return [...found.values()]
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() || undefined
  } catch {
    return undefined
  }
}

function findContainers(run: string): ServerProcess[] {
  const docker = findExecutable('docker')
  if (!docker) return []
  const ask = (...args: string[]) => spawnSync(docker, args, { encoding: 'utf8', timeout: 10_000 }).stdout?.trim() ?? ''
  const ids = ask('ps', '--all', '--quiet', `--filter=label=${runLabel}=${run}`)
  if (ids === '') return []
  const format = `{{.Name}}\t{{.State.Pid}}\t{{index .Config.Labels "${ownerLabel}"}}\t{{.Config.Image}}`
  const rows = ask('container', 'inspect', `--format=${format}`, ...ids.split('\n'))
  return rows.split('\n').flatMap((row) => {
    const [path = '', pid, owner, image] = row.split('\t')
    if (image === undefined) return [] // gone meanwhile
    const container = path.replace(/^\//, '')
    const command = `container ${container} (${image})`
    return [{ pid: Number(pid), owner: Number(owner), ownerAlive: isAlive(Number(owner)), command, container }]
  })
}

/** Those of {@link findServerProcesses} whose owner is dead: there should never be one, a moment after the owner's death. */
export function findOrphans(run: string = runId()): ServerProcess[] {
  return findServerProcesses(run).filter((found) => !found.ownerAlive)
}
