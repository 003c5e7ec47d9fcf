import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { findExecutable } from './locate.ts'
import { isAlive } from './process-tree.ts'

/** Names the run to which a server belongs; inherited by every process of the run. */
export const runVariable = 'PLATFORM_STACK_RUN'
/** Set for servers and their supervisors only: the process that started them. */
export const ownerVariable = 'PLATFORM_STACK_OWNER'
/** The same two, as labels of containers. */
export const runLabel = 'platform.stack.run'
export const ownerLabel = 'platform.stack.owner'

/** The run id in this process's environment; the first call of a run puts one there, so that children inherit it. */
export function runId(): string {
  return (process.env[runVariable] ??= randomBytes(6).toString('hex'))
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

/** Every living server, supervisor and container of a run that this user may look at; where there is no /proc, containers alone. */
export function findServerProcesses(run: string = runId()): ServerProcess[] {
  return [...findProcesses(run), ...findContainers(run)]
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

function findProcesses(run: string): ServerProcess[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const environment = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0')
      const owner = environment.find((entry) => entry.startsWith(`${ownerVariable}=`))
      if (owner === undefined || !environment.includes(`${runVariable}=${run}`)) return []
      const ownerPid = Number(owner.slice(ownerVariable.length + 1))
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      if (command === '' || ownerPid === Number(name)) return []
      return [{ pid: Number(name), owner: ownerPid, ownerAlive: isAlive(ownerPid), command }]
    } catch {
      return [] // gone meanwhile, or another user's
    }
  })
}

/** Those of {@link findServerProcesses} whose owner is dead: there should never be one, a moment after the owner's death. */
export function findOrphans(run: string = runId()): ServerProcess[] {
  return findServerProcesses(run).filter((found) => !found.ownerAlive)
}
