import type { Account } from './account.ts'
import type { Program } from './program.ts'
import type { ServerName } from './server.ts'

/** What a plan may count on: an empty folder that the account owns, a free port, and a way to run a program to its end. */
export interface Site {
  folder: string
  port: number
  env: Record<string, string>
  /** Writes a file that only the account may read; returns its path. */
  write: (name: string, text: string) => string
  /** Throws when the program does not end with code 0. */
  runToEnd: (program: Program) => Promise<void>
}

/** How one server is run. */
export interface Plan {
  name: ServerName
  origin: string
  account: Account | undefined
  /** Set for a server that does not start in a folder whose path has other letters. */
  asciiPaths?: boolean | undefined
  /** Further ports, as offsets from the main one, that must be free as well. */
  portOffsets?: number[] | undefined
  /** What ends it cleanly. */
  stopSignal: NodeJS.Signals
  /** How long a clean end may take when the data goes anyway. Default: `stopTimeoutMs`. */
  partingMs?: number | undefined
  /** Once, before the first start. */
  prepare(site: Site): Promise<void> | void
  /** Started in this order; the last one is the server. */
  programs(site: Site): Program[]
  url(site: Site): string
  /** Resolves with the version as soon as the server serves; rejects while it does not. Asked again and again. */
  probe(url: string, site: Site): Promise<string>
}
