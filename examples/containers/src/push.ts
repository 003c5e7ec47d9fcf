import { join } from 'node:path'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import { releasedImage } from './image-names.ts'

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
  readonly onProgress: (line: string) => void
}

/** The arguments of `docker buildx build` for each image of ours: with its provenance and the list of its parts beside it. */
export async function pushes({ project, registry, version }: Omit<Push, 'onProgress'>): Promise<ReadonlyMap<string, readonly string[]>> {
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
            '--provenance=mode=max',
            '--sbom=true',
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

export async function push(options: Push): Promise<void> {
  for (const [tag, args] of await pushes(options)) {
    const startedAt = performance.now()
    await docker(args)
    options.onProgress(`${tag} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  }
}
