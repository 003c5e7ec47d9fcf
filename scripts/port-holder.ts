import { globSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'

const listening = '0A'

/** Nothing if the port of 127.0.0.1 can be taken, and otherwise one line that says who has it. */
export async function portTaken(port: number): Promise<string | undefined> {
  const server = createServer()
  const failure = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once('error', resolve).listen(port, '127.0.0.1', () => server.close(() => resolve(undefined)))
  })
  if (failure === undefined) return undefined
  if (failure.code !== 'EADDRINUSE') return `port ${port} cannot be taken: ${failure.message}`
  const holder = portHolder(port)
  return `port ${port} is taken by ${holder ? `process ${holder.pid} (${holder.program})` : 'a process that this user may not see'}`
}

/** The process that listens on a TCP port, as /proc tells it; undefined where there is no /proc or the process is another user's. */
function portHolder(port: number): { pid: number; program: string } | undefined {
  const sockets = new Set(['tcp', 'tcp6'].flatMap((table) => listeners(`/proc/net/${table}`, port)).map((inode) => `socket:[${inode}]`))
  if (sockets.size === 0) return undefined
  for (const descriptor of globSync('/proc/[0-9]*/fd/*')) {
    try {
      if (!sockets.has(readlinkSync(descriptor))) continue
      const pid = Number(descriptor.split('/')[2])
      return { pid, program: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() }
    } catch {
      // It has ended, or has closed this one, since it was listed.
    }
  }
  return undefined
}

/** The inodes of the sockets that listen on a port: a line of the table is `sl local remote state … inode`, addresses in hex. */
function listeners(table: string, port: number): string[] {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  try {
    return readFileSync(table, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((columns) => columns[1]?.endsWith(ending) && columns[3] === listening)
      .map((columns) => columns[9]!)
  } catch {
    return []
  }
}
