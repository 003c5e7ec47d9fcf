import { join } from 'node:path'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import { checkRelease, releasedImage } from './image-names.ts'

interface Buildable {
  readonly image: string
  readonly build?: {
    readonly context: string
    readonly dockerfile?: string
    readonly target?: string
    readonly args?: Readonly<Record<string, string>>
  }
}

export interface Push {
  readonly project: ComposeProject
  readonly registry: string
  readonly version: string
  /** By the engine's own builder, without provenance and list of parts. Default false. */
  readonly plain?: boolean
  readonly onProgress: (line: string) => void
}

/** The arguments of `docker buildx build` for each image of ours. */
export async function pushes({
  project,
  registry,
  version,
  plain = false,
}: Omit<Push, 'onProgress'>): Promise<ReadonlyMap<string, readonly string[]>> {
  const { services } = JSON.parse(await compose(project, 'config', '--format', 'json')) as { services: Record<string, Buildable> }
  return new Map(
    Object.values(services).flatMap(({ image, build }) => {
      if (build === undefined) return []
      const { context, dockerfile = 'Dockerfile', target, args = {} } = build
      const tag = releasedImage(image, { registry, version })
      const chosen = [
        ...(target ? ['--target', target] : []),
        ...Object.entries({ ...args, ...('RELEASE' in args && { RELEASE: version }) }).flatMap(([name, value]) => [
          '--build-arg',
          `${name}=${value}`,
        ]),
      ]
      return [
        [
          tag,
          [
            'buildx',
            'build',
            '--push',
            ...(plain ? ['--builder=default', '--provenance=false'] : ['--provenance=mode=max', '--sbom=true']),
            '--tag',
            tag,
            '--file',
            join(context, dockerfile),
            ...chosen,
            context,
          ],
        ] as const,
      ]
    }),
  )
}

/** Builds our images and pushes them: each with its provenance and the list of its parts beside it, which a builder must know how to keep. */
export async function push(options: Push): Promise<void> {
  checkRelease(options)
  if (!options.plain && !(await keepsAttestations()))
    throw new Error(
      "the engine's own builder keeps neither provenance nor a list of parts: `docker buildx create --use` makes one that does, --plain goes without",
    )
  for (const [tag, args] of await pushes(options)) {
    const startedAt = performance.now()
    await docker(args)
    options.onProgress(`${tag} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  }
}

/** Every builder but that of an engine whose images are not in containerd's store. */
async function keepsAttestations(): Promise<boolean> {
  const [, driver] = /^Driver:\s+(\S+)/m.exec(await docker(['buildx', 'inspect'])) ?? []
  return driver !== 'docker' || (await docker(['info', '--format', '{{.DriverStatus}}'])).includes('io.containerd.snapshotter')
}
