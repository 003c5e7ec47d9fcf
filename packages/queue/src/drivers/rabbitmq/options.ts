import { integerOption, knownOptions } from '@platform/kernel'
import type { ConnectionOptions } from 'node:tls'
import type { Credential } from '../../shapes.ts'
import { refuse, wrong } from '../../validation.ts'

export interface RabbitmqOptions {
  /** `amqp://` or `amqps://`, one for each node; tried in turn. RabbitMQ 3.10 or later. */
  urls: readonly string[]
  /** Takes the place of the URLs'. */
  username?: string | undefined
  /** Takes the place of the URLs'; a function is asked at each new connection. Needs `username`. */
  password?: Credential | undefined
  /** Messages sent and not yet confirmed; more wait. Default 1,024, 1 to 65,535. */
  maxUnconfirmed?: number | undefined
  /** A larger body is refused before it is sent, in bytes. The broker has a limit of its own: 128 MiB, from 4.0 on 16 MiB. Default 16,777,216, 1,024 to 536,870,912. */
  maxMessageBytes?: number | undefined
  /** What `node:tls` takes: `ca`, `cert`, `key`, `servername`, … For `amqps:` URLs. */
  tls?: ConnectionOptions | undefined
}

export interface ResolvedRabbitmqOptions {
  readonly urls: readonly string[]
  readonly username: string | undefined
  readonly password: Credential | undefined
  readonly maxUnconfirmed: number
  readonly maxMessageBytes: number
  readonly tls: ConnectionOptions
}

export function resolveRabbitmqOptions(options: RabbitmqOptions): ResolvedRabbitmqOptions {
  knownOptions(refuse, '', options, ['urls', 'username', 'password', 'maxUnconfirmed', 'maxMessageBytes', 'tls'])
  if (!Array.isArray(options.urls) || options.urls.length === 0) throw wrong('urls: at least one')
  const urls = options.urls as readonly string[]
  if (!urls.every((url) => URL.canParse(url) && /^amqps?:/.test(url))) throw wrong('urls: amqp://… or amqps://…')
  if ((options.username === undefined) !== (options.password === undefined)) throw wrong('username and password: both or neither')
  return {
    urls,
    username: options.username,
    password: options.password,
    maxUnconfirmed: integerOption(refuse, 'maxUnconfirmed', options.maxUnconfirmed ?? 1_024, 1, 65_535),
    maxMessageBytes: integerOption(refuse, 'maxMessageBytes', options.maxMessageBytes ?? 16_777_216, 1_024, 536_870_912),
    tls: options.tls ?? {},
  }
}
