import { readdirSync, readFileSync } from 'node:fs'

/** What the kernel calls the servers of the store. */
const servers: Readonly<Record<string, string>> = {
  postgres: 'postgres',
  'redis-server': 'redis',
  'beam.smp': 'rabbitmq',
  consul: 'consul',
  nginx: 'nginx',
  // One that runs with the C library of another suite.
  'ld-linux-x86-64': 'nginx',
}
const microsecondsPerTick = 10_000

interface Process {
  readonly pid: number
  readonly parent: number
  readonly command: string
  readonly ticks: number
}

/** Microseconds so far of the servers that this process has started, where there is a /proc, and of the customers: they live in this process. */
export function processorTimes(): Readonly<Record<string, number>> {
  const { user, system } = process.cpuUsage()
  const times: Record<string, number> = { customers: user + system }
  for (const { command, ticks } of descendants(process.pid)) {
    const server = servers[command]
    if (server) times[server] = (times[server] ?? 0) + ticks * microsecondsPerTick
  }
  return times
}

function descendants(ancestor: number): Process[] {
  const all = process.platform === 'linux' ? readdirSync('/proc').flatMap(read) : []
  const found: Process[] = []
  for (let parents = [ancestor]; parents.length > 0; ) {
    const children = all.filter(({ parent }) => parents.includes(parent))
    found.push(...children)
    parents = children.map(({ pid }) => pid)
  }
  return found
}

function read(pid: string): Process[] {
  if (!/^\d+$/.test(pid)) return []
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command stands in parentheses and may hold any character, so fields are counted from its end.
    const end = stat.lastIndexOf(')')
    const fields = stat.slice(end + 2).split(' ')
    // Its own and those of its children that have ended: a backend that leaves hands its own to its parent.
    const ticks = fields.slice(11, 15).reduce((total, each) => total + Number(each), 0)
    return [{ pid: Number(pid), parent: Number(fields[1]), command: stat.slice(stat.indexOf('(') + 1, end), ticks }]
  } catch {
    return [] // gone meanwhile
  }
}
