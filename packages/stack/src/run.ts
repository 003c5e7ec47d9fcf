import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { isAlive } from './process-tree.ts'

/** Names the run to which a server belongs; inherited by every process of the run. */
export const runVariable = 'PLATFORM_STACK_RUN'
/** Set for servers and their supervisors only: the process that started them. */
export const ownerVariable = 'PLATFORM_STACK_OWNER'

/** The run id in this process's environment; the first call of a run puts one there, so that children inherit it. */
export function runId(): string {
  return (process.env[runVariable] ??= randomBytes(6).toString('hex'))
}

export interface ServerProcess {
  pid: number
  /** The process that started the server. */
  owner: number
  ownerAlive: boolean
  command: string
}

/** Every living server and supervisor of a run that this user may look at. Empty where there is no /proc. */
export function findServerProcesses(run: string = runId()): ServerProcess[] {
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
