import { createHash } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'

export type Argument = string | number | Buffer

/** A Lua script, sent by its digest and once in full where the server does not know it. Does not touch the client's commands. */
export class Script {
  readonly #source: string
  readonly #digest: string

  constructor(source: string) {
    this.#source = source
    this.#digest = createHash('sha1').update(source).digest('hex')
  }

  async run(client: Redis | Cluster, key: string, args: readonly Argument[]): Promise<unknown> {
    try {
      return await client.evalsha(this.#digest, 1, key, ...args)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return client.eval(this.#source, 1, key, ...args)
    }
  }
}
