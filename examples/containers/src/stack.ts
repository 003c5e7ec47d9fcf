import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type Release, releasedImage } from './image-names.ts'

/** A service as `docker compose config --format json` tells it, as far as it is read here. */
interface ComposeService {
  readonly image: string
  readonly restart?: string
  readonly mem_limit?: string
  readonly cpus?: number
  readonly pids_limit?: number
  readonly tmpfs?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly networks?: Readonly<Record<string, { readonly aliases?: readonly string[] } | null>>
  readonly ports?: readonly { readonly target: number; readonly published: string; readonly protocol: string }[]
  readonly secrets?: readonly { readonly source: string; readonly target?: string }[]
  readonly volumes?: readonly { readonly type: string; readonly source: string; readonly target: string; readonly read_only?: boolean }[]
  readonly [other: string]: unknown
}

export interface ComposeConfig {
  readonly services: Readonly<Record<string, ComposeService>>
  readonly networks: Readonly<Record<string, { readonly internal?: boolean } | null>>
  readonly volumes: Readonly<Record<string, { readonly driver_opts?: object } | null>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
}

export interface StackOptions extends Release {
  /** Its name, with which its secrets and configs begin: those of two stacks in one swarm are apart. */
  readonly stack: string
  /** `foundations` are what a release needs before it: servers and migrations; `services` all that lasts. */
  readonly part: 'foundations' | 'services'
}

/** Settings of a container that a stack knows by the same name. What it does not know (`security_opt`, `shm_size`) is left out. */
const kept = ['user', 'command', 'entrypoint', 'cap_drop', 'read_only', 'stop_grace_period', 'healthcheck', 'logging'] as const

/**
 * The store as a stack for several hosts, from the very file that describes it for one. Instances become replicas under the names of both, files become
 * configs; configs and secrets are named after what is in them, so that a changed one is a new one and its services are replaced.
 */
export function stackOf(config: ComposeConfig, { stack, part, ...release }: StackOptions): object {
  const configs: Record<string, { name: string; file: string }> = {}
  // At most 64 characters.
  const named = (kind: string, file: string) =>
    `${`${stack}-${kind}`.slice(0, 51)}-${createHash('sha256').update(kind).update(readFileSync(file)).digest('hex').slice(0, 12)}`
  const configOf = (file: string, target: string) => {
    const name = named(basename(file).replaceAll(/[^\w-]/g, '-'), file)
    configs[name] = { name, file }
    return { source: name, target, mode: 0o444 }
  }

  function service(name: string, of: ComposeService, instances: readonly string[]): object {
    const isJob = of.restart === 'no'
    const isReplica = instances.length > 1
    const volumes = of.volumes ?? []
    // A folder of the host that may be written into, such as that of the backups, is data; the others hold configuration.
    const isKept = ({ type, read_only }: (typeof volumes)[number]) => type === 'volume' || (type === 'bind' && !read_only)
    const isData = volumes.some(isKept)
    const binds = volumes.filter(({ type, read_only }) => type === 'bind' && read_only)
    const changes = {
      parallelism: 1,
      delay: '5s',
      // Whoever holds a port or data of the host cannot be there twice.
      order: isData || of.ports ? 'stop-first' : 'start-first',
    }
    const image = releasedImage(of.image, release)
    return {
      ...Object.fromEntries(kept.flatMap((key) => (of[key] === undefined || of[key] === null ? [] : [[key, of[key]]]))),
      image,
      hostname: isReplica ? `${name}-{{.Task.Slot}}` : (of['hostname'] ?? name),
      environment: {
        ...Object.fromEntries(
          Object.entries(of.environment ?? {}).map(([key, value]) => [
            key,
            isReplica && key.endsWith('_INSTANCE') ? '{{.Task.Slot}}' : value,
          ]),
        ),
        // Metrics and traces say of which release they are.
        ...(image !== of.image && { OTEL_RESOURCE_ATTRIBUTES: `service.version=${image.slice(image.lastIndexOf(':') + 1)}` }),
      },
      networks: Object.fromEntries(
        Object.entries(of.networks ?? {}).map(([network, settings]) => [
          network,
          { aliases: [...new Set([...instances, ...(settings?.aliases ?? [])])] },
        ]),
      ),
      ...(of.ports && {
        ports: of.ports.map(({ target, published, protocol }) => ({ target, published: Number(published), protocol, mode: 'host' })),
      }),
      secrets: (of.secrets ?? []).map(({ source, target = source }) => ({ source, target, mode: 0o444 })),
      configs: binds.flatMap(({ source, target }) => filesOf(source, target).map(([file, place]) => configOf(file, place))),
      volumes: [
        ...volumes.filter(isKept).map(({ type, source, target, read_only }) => ({ type, source, target, ...(read_only && { read_only }) })),
        ...(of.tmpfs ?? []).map((each) => ({ type: 'tmpfs', target: each.split(':')[0]!, tmpfs: { size: sizeOf(each) } })),
      ],
      deploy: {
        ...(isJob ? { mode: 'replicated-job' } : { replicas: instances.length, endpoint_mode: 'dnsrr' }),
        ...(!isJob && {
          update_config: { ...changes, failure_action: 'rollback', monitor: '20s' },
          rollback_config: changes,
        }),
        restart_policy: isJob ? { condition: 'on-failure', delay: '3s', max_attempts: 60 } : { condition: 'any', delay: '3s' },
        resources: { limits: { cpus: String(of.cpus ?? 1), memory: String(of.mem_limit), pids: of.pids_limit } },
        placement: {
          ...(isData ? { constraints: ['node.labels.film-store == data'] } : { preferences: [{ spread: 'node.labels.zone' }] }),
          ...(of.ports && { max_replicas_per_node: 1 }),
        },
      },
    }
  }

  const isPart = (of: ComposeService) => (part === 'foundations' ? isFoundation(of) : of.restart !== 'no')
  const chosen = [...instancesOf(config)].filter(([, [of]]) => isPart(config.services[of!]!))
  const services = Object.fromEntries(chosen.map(([name, instances]) => [name, service(name, config.services[instances[0]!]!, instances)]))
  const used = JSON.stringify(services)
  const onlyUsed = <T>(all: Readonly<Record<string, T>>) => Object.entries(all).filter(([name]) => used.includes(`"${name}"`))
  return {
    version: '3.13',
    services,
    networks: Object.fromEntries(
      onlyUsed(config.networks).map(([name, of]) => [name, { driver: 'overlay', ...(of?.internal && { internal: true }) }]),
    ),
    volumes: Object.fromEntries(
      onlyUsed(config.volumes).map(([name, of]) => [name, of?.driver_opts ? { driver_opts: of.driver_opts } : {}]),
    ),
    secrets: Object.fromEntries(
      onlyUsed(config.secrets).map(([name, { file }]) => [name, { name: named(name.replaceAll('_', '-'), file), file }]),
    ),
    configs,
  }
}

/** `catalog-api-1` and `catalog-api-2` are instances of `catalog-api`, where there are both. */
function instancesOf({ services }: ComposeConfig): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const name of Object.keys(services)) {
    const stem = name.replace(/-\d+$/, '')
    const group = stem !== name && `${stem}-2` in services ? stem : name
    groups.set(group, [...(groups.get(group) ?? []), name])
  }
  return groups
}

/** Servers of others, and what runs once: all that is there before a release. */
const isFoundation = ({ image, restart }: ComposeService): boolean =>
  restart === 'no' || !image.startsWith('film-store/') || image === 'film-store/postgres'

/** A file, or each file of a folder, and where it is to be. */
function filesOf(source: string, target: string): (readonly [file: string, target: string])[] {
  if (!statSync(source).isDirectory()) return [[source, target]]
  return readdirSync(source).flatMap((name) => filesOf(join(source, name), `${target}/${name}`))
}

/** Of `/tmp:size=16m,mode=1777`, in bytes; 64 MB where it says nothing. */
function sizeOf(tmpfs: string): number {
  const [, figure = '64'] = /size=(\d+)m/.exec(tmpfs) ?? []
  return Number(figure) * 1024 * 1024
}
