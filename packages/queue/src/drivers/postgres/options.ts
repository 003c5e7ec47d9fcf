import { integerOption, knownOptions } from '@platform/kernel'
import type { Credential } from '../../shapes.ts'
import { refuse, wrong } from '../../validation.ts'

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`. PostgreSQL 13 or later. */
  url: string
  /** Takes the place of the URL's; a function is asked at each new connection. */
  password?: Credential | undefined
  /** Where the tables live; made when missing. Services that share messages share it. Default `platform_queue`. */
  schema?: string | undefined
  /** Connections of this process, one more for LISTEN. Default 5, 2 to 100. */
  maxConnections?: number | undefined
  /** How often a consumer looks for work that no notification told of, in milliseconds, ± 20 %. Default 1,000, 50 to 60,000. */
  pollIntervalMs?: number | undefined
}

export interface ResolvedPostgresOptions {
  readonly url: string
  readonly password: Credential | undefined
  readonly schema: string
  readonly maxConnections: number
  readonly pollIntervalMs: number
}

export function resolvePostgresOptions(options: PostgresOptions): ResolvedPostgresOptions {
  knownOptions(refuse, '', options, ['url', 'password', 'schema', 'maxConnections', 'pollIntervalMs'])
  if (!URL.canParse(options.url) || !/^postgres(ql)?:/.test(options.url)) throw wrong('url: postgres://…')
  const schema = options.schema ?? 'platform_queue'
  if (!/^[a-z_][a-z0-9_]{0,39}$/.test(schema)) throw wrong('schema: 1 to 40 of a-z 0-9 _, not beginning with a digit')
  return {
    url: options.url,
    password: options.password,
    schema,
    maxConnections: integerOption(refuse, 'maxConnections', options.maxConnections ?? 5, 2, 100),
    pollIntervalMs: integerOption(refuse, 'pollIntervalMs', options.pollIntervalMs ?? 1_000, 50, 60_000),
  }
}
