import { canInstall, installPackages } from './debian.ts'
import { StackError } from './errors.ts'
import { findExecutable } from './locate.ts'
import { resolveStartOptions, type StartOptions } from './options.ts'

/**
 * A program that something of ours is measured beside: the machine's own, or, where installing is allowed, of the distribution's package of that
 * name. Undefined, with a line to `onProgress`, where it cannot be had.
 */
export async function findPeer(
  program: string,
  options: Pick<StartOptions, 'signal' | 'onProgress' | 'install'> = {},
): Promise<string | undefined> {
  const resolved = resolveStartOptions(options)
  const here = findExecutable(program)
  if (here !== undefined) return here
  try {
    if (resolved.install && canInstall()) await installPackages([program], resolved)
  } catch (error) {
    if (!StackError.isInstance(error)) throw error
  }
  const installed = findExecutable(program)
  if (installed === undefined) resolved.onProgress(`${program} is not here and is left out`)
  return installed
}
