import { readFile, rename, writeFile } from 'node:fs/promises'
import type { LoggerLike } from './logger-like.ts'
import { type Instance, isUsable } from './registry.ts'

const FORMAT = 1

interface Content {
  format: number
  services: Record<string, readonly Instance[]>
}

/** The last non-empty set of each service on disk, for a start while the registry is down. */
export class SnapshotFile {
  readonly #path: string
  readonly #logger: LoggerLike | undefined
  #loading: Promise<Map<string, readonly Instance[]>> | undefined
  #writing: Promise<void> = Promise.resolve()
  #dirty = false

  constructor(path: string, logger: LoggerLike | undefined) {
    this.#path = path
    this.#logger = logger
  }

  async read(service: string): Promise<readonly Instance[] | undefined> {
    return (await this.#load()).get(service)
  }

  save(service: string, instances: readonly Instance[]): void {
    void this.#load().then((services) => {
      services.set(service, instances)
      if (this.#dirty) return
      this.#dirty = true
      this.#writing = this.#writing.then(() => this.#write(services))
    })
  }

  async close(): Promise<void> {
    await this.#load()
    await this.#writing
  }

  #load(): Promise<Map<string, readonly Instance[]>> {
    this.#loading ??= this.#parse()
    return this.#loading
  }

  async #parse(): Promise<Map<string, readonly Instance[]>> {
    try {
      const content = JSON.parse(await readFile(this.#path, 'utf8')) as Content
      if (content.format !== FORMAT) throw new Error(`format ${content.format}, expected ${FORMAT}`)
      const known = Object.entries(content.services).map(([service, instances]) => [service, instances.filter(isUsable)] as const)
      return new Map(known.filter(([, instances]) => instances.length > 0))
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT')
        this.#logger?.warn({ err: error, file: this.#path }, 'snapshot of instances ignored')
      return new Map()
    }
  }

  async #write(services: Map<string, readonly Instance[]>): Promise<void> {
    this.#dirty = false
    const content: Content = { format: FORMAT, services: Object.fromEntries(services) }
    const temporary = `${this.#path}.${process.pid}.tmp`
    try {
      await writeFile(temporary, JSON.stringify(content))
      await rename(temporary, this.#path)
    } catch (error) {
      this.#logger?.warn({ err: error, file: this.#path }, 'snapshot of instances not written')
    }
  }
}
