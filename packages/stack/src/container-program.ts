import { basename } from 'node:path'
import type { ContainerProgram } from './container.ts'
import type { Image } from './engine.ts'
import type { Site } from './plan.ts'
import type { Program } from './program.ts'
import { ownerLabel, runId, runLabel } from './run.ts'

export interface ContainerRecipe {
  image: Image
  /** Ports of this machine's loopback interface and those of the container. */
  publish?: [outer: number, inner: number][] | undefined
  /** Where the image keeps its data; a volume stands there. */
  dataPath?: string | undefined
  env?: Record<string, string> | undefined
  /** Further options of `docker run`. */
  options?: string[] | undefined
  /** The image's command. */
  args: string[]
}

let started = 0

/** An attached client: it passes the output on and ends with the container, which the engine then removes. */
export function containerProgram(
  site: Site,
  { image, publish = [], dataPath, env = {}, options = [], args }: ContainerRecipe,
): ContainerProgram {
  const id = basename(site.folder)
  // No name is used twice, so that nothing waits for a removal.
  const name = `${id}-${++started}`
  const labels = [`${runLabel}=${runId()}`, `${ownerLabel}=${process.pid}`]
  return {
    command: image.engine.command,
    args: [
      'run',
      '--rm',
      '--init',
      '--pull=never',
      '--log-driver=none',
      `--name=${name}`,
      ...labels.map((label) => `--label=${label}`),
      ...publish.map(([outer, inner]) => `--publish=127.0.0.1:${outer}:${inner}`),
      ...(dataPath === undefined ? [] : ['--mount', `type=volume,source=${id},target=${dataPath},volume-label=${labels[0]}`]),
      // Named only: the values come from the client's environment, so that no password stands in a list of processes.
      ...Object.keys(env).map((variable) => `--env=${variable}`),
      ...options,
      image.name,
      ...args,
    ],
    env: { ...image.engine.env, ...env },
    cwd: '/',
    container: { name, volume: dataPath === undefined ? undefined : id },
  }
}

/** The program of an image in place of one on the machine: on the machine's network, with the same folder under the same path, as the same user. */
export function asOnTheMachine(site: Site, image: Image, program: Program): ContainerProgram {
  const { command, args, account } = program
  const { uid, gid } = account ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  // One field of a line of CSV.
  const field = (name: string) => `"${name}=${site.folder.replaceAll('"', '""')}"`
  const folder = `--mount=type=bind,${field('source')},${field('target')}`
  return containerProgram(site, {
    image,
    options: ['--network=host', `--user=${uid}:${gid}`, `--workdir=${site.folder}`, `--entrypoint=${command}`, folder],
    args,
  })
}
