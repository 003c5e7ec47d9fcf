import { findEngine, hasImage, type Image, pullImage } from './engine.ts'
import { StackError } from './errors.ts'
import { allowing, missing } from './locate.ts'
import type { ResolvedStartOptions } from './options.ts'

export interface Wanted<T> {
  what: string
  /** The environment variable that can name a running one. */
  variable?: string | undefined
  /** The program to install. */
  program: string
  /** The official image. */
  image: string
  find: () => T | undefined
  /** From the distribution; undefined where that cannot be. */
  install: (() => Promise<T | undefined>) | undefined
}

export type Found<T> = { programs: T; image?: undefined } | { programs?: undefined; image: Image }

/** On the machine, then in a container, then from the distribution; what is not here is brought here only if that is allowed. */
export async function findServer<T>(wanted: Wanted<T>, options: ResolvedStartOptions): Promise<Found<T>> {
  const forced = options.source === 'container'
  const here = forced ? undefined : wanted.find()
  if (here !== undefined) return { programs: here }
  const image = await findImage(wanted, options, forced)
  if (image) return { image }
  const installed = options.install ? await wanted.install?.() : undefined
  if (installed !== undefined) return { programs: installed }
  throw missing(wanted, options.install)
}

async function findImage({ what, image }: Wanted<unknown>, options: ResolvedStartOptions, forced: boolean): Promise<Image | undefined> {
  const engine = await findEngine(options.signal)
  if (!engine) {
    if (forced)
      throw new StackError('ERR_STACK_MISSING', `${what} was asked for in a container, but no engine answers to \`docker version\``)
    return undefined
  }
  const name = options.image ?? image
  if (await hasImage(engine, name, options.signal)) return { engine, name }
  if (!options.install) {
    if (!forced) return undefined
    throw new StackError('ERR_STACK_MISSING', `${what}: the image ${name} is not here. \`docker pull ${name}\` brings it, or ${allowing}.`)
  }
  try {
    return await pullImage(engine, name, options)
  } catch (error) {
    if (forced || !StackError.isInstance(error)) throw error
    options.onProgress(error.message)
    return undefined
  }
}
