import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { allProfiles, filmStore } from '../../examples/containers/src/index.ts'
import { compose, type ComposeProject, docker } from '../../packages/stack/src/compose.ts'
import { must, seconds } from './check.ts'

export const services: readonly string[] = [
  'catalog-api-1',
  'catalog-api-2',
  'orders-api-1',
  'orders-api-2',
  'fulfilment-worker',
  'identity-api',
  'gateway',
]
/** What runs before the rest and ends. */
const once = /^(migrate-|consul-tokens$)/

const exec = (project: ComposeProject, container: string, ...args: string[]) => compose(project, 'exec', '-T', container, ...args)

interface Inspected {
  readonly Id: string
  readonly Name: string
  readonly Image: string
  readonly State: { readonly Running: boolean; readonly Pid: number }
  readonly Config: { readonly Labels: Record<string, string> }
  readonly Mounts: { readonly Type: string; readonly Name?: string; readonly Destination: string }[]
  readonly HostConfig: {
    readonly ReadonlyRootfs: boolean
    readonly CapDrop: string[] | null
    readonly CapAdd: string[] | null
    readonly SecurityOpt: string[] | null
    readonly Memory: number
    readonly NanoCpus: number
    readonly PidsLimit: number | null
    readonly LogConfig: { Config: Record<string, string> }
    readonly RestartPolicy: { Name: string }
  }
}

async function inspectAll(project: ComposeProject): Promise<Inspected[]> {
  const ids = (await compose(project, 'ps', '--all', '--quiet')).trim().split('\n')
  return JSON.parse(await docker(['inspect', ...ids])) as Inspected[]
}

/** What no container may have, and what each must. */
export async function lockedDown(project: ComposeProject): Promise<string> {
  const all = await inspectAll(project)
  const faults = all.flatMap(({ Config, HostConfig: host, Mounts }) => {
    const who = Config.Labels['com.docker.compose.service']!
    const rules: [string, boolean][] = [
      ['a writable root file system', !host.ReadonlyRootfs],
      ['capabilities', !host.CapDrop?.includes('ALL') || (host.CapAdd?.length ?? 0) > 0],
      ['new privileges', !host.SecurityOpt?.some((option) => option.startsWith('no-new-privileges'))],
      ['no memory limit', host.Memory === 0],
      ['no processor limit', host.NanoCpus === 0],
      ['no limit of processes', !host.PidsLimit],
      ['no cap of its log', !host.LogConfig.Config['max-size']],
      // `down` leaves it behind, and nobody finds it again.
      ['a volume without a name', Mounts.some(({ Type, Name }) => Type === 'volume' && /^[\da-f]{64}$/.test(Name ?? ''))],
      ['the wrong restart policy', host.RestartPolicy.Name !== (once.test(who) ? 'no' : 'unless-stopped')],
    ]
    return rules.filter(([, broken]) => broken).map(([what]) => `${who} has ${what}`)
  })
  for (const { Id, Config, State } of all.filter((each) => each.State.Running)) {
    // Asked from outside, since not every image can be asked inside.
    const users = (await docker(['top', Id, '-eo', 'pid,uid,comm'])).trim().split('\n').slice(1)
    if (users.some((line) => line.trim().split(/\s+/)[1] === '0'))
      faults.push(`${Config.Labels['com.docker.compose.service']} runs as root (${State.Pid})`)
  }
  return must(faults, `${all.length} containers`)
}

interface Described {
  readonly ports?: { host_ip?: string; published?: string }[]
  readonly stop_grace_period?: string
  readonly environment?: Record<string, string>
  readonly networks: Record<string, unknown>
}

async function describe(
  { env }: ComposeProject,
  overrides: Parameters<typeof filmStore>[0],
  settings: NodeJS.ProcessEnv = {},
): Promise<[string, Described][]> {
  const text = await compose(filmStore(overrides, { ...env, ...settings }, allProfiles), 'config', '--format', 'json')
  return Object.entries((JSON.parse(text) as { services: Record<string, Described> }).services)
}

export async function publishedPorts(project: ComposeProject): Promise<string> {
  const beyondThisMachine = (services: readonly [string, Described][]) =>
    services.filter(([, { ports = [] }]) => ports.some(({ host_ip }) => host_ip !== '127.0.0.1')).map(([service]) => service)
  const plain = await describe(project, [])
  const published = plain.filter(([, { ports = [] }]) => ports.length > 0).map(([service]) => service)
  const asked = beyondThisMachine(await describe(project, [], { FILM_STORE_ADDRESS: '0.0.0.0' }))
  const open = [...beyondThisMachine(plain), ...beyondThisMachine(await describe(project, ['inspect']))]
  return must(
    [
      ...published
        .filter((service) => !['gateway', 'prometheus', 'alertmanager', 'grafana'].includes(service))
        .map((service) => `${service} is published`),
      ...open.map((service) => `${service} is open to the network without being asked`),
      ...(asked.join() === 'gateway' ? [] : [`FILM_STORE_ADDRESS opens ${asked.join() || 'nothing'}`]),
    ],
    'the gateway, on 127.0.0.1 unless FILM_STORE_ADDRESS says otherwise; the watch on 127.0.0.1 alone',
  )
}

export async function oneGracePeriod(project: ComposeProject): Promise<string> {
  const all = (await describe(project, [])).filter(([service]) => services.includes(service))
  const faults = all.filter(([, { stop_grace_period: granted, environment = {} }]) => {
    const told = Object.entries(environment).find(([variable]) => variable.endsWith('_GRACE_PERIOD'))?.[1]
    return granted === undefined || granted !== told
  })
  return must(
    faults.map(([service]) => `${service} is told another figure`),
    all[0]![1].stop_grace_period!,
  )
}

/** No password among what the engine or the machine shows of a container: its description, the arguments of its processes, the layers of its image. */
export async function secretsShown(project: ComposeProject, folder: string): Promise<string> {
  // Names of users and parts of URLs are no secrets; what was drawn is long.
  const words = (text: string) => text.split(/[^\w-]+/).filter((word) => word.length >= 32)
  const drawn = new Map(
    readdirSync(folder)
      .filter((name) => !['tls', 'rabbitmq_definitions'].includes(name))
      .flatMap((name) => words(readFileSync(join(folder, name), 'utf8')).map((word) => [word, name] as const)),
  )
  const all = await inspectAll(project)
  const images = [...new Set(all.map(({ Image }) => Image))]
  const shown = [
    ['the description of a container', JSON.stringify(all)],
    ...(await Promise.all(
      all
        .filter((each) => each.State.Running)
        .map(async ({ Id, Name }) => [`a process of ${Name}`, await docker(['top', Id, '-eo', 'pid,args'])] as const),
    )),
    ...(await Promise.all(
      images.map(async (id) => [`a layer of ${id}`, await docker(['history', '--no-trunc', '--format', '{{.CreatedBy}}', id])] as const),
    )),
  ] as const
  const faults = shown.flatMap(([where, text]) =>
    [...drawn].filter(([word]) => text.includes(word)).map(([, name]) => `${name} is in ${where}`),
  )
  return must(faults, `${drawn.size} of them in ${all.length} containers and ${images.length} images`)
}

export async function passwords(project: ComposeProject, secrets: string): Promise<string> {
  const mode = statSync(secrets).mode & 0o777
  const refused = async (what: string, container: string, script: string, sign: RegExp) => {
    const answer = await exec(project, container, 'sh', '-c', `${script} 2>&1 || true`)
    return sign.test(answer) ? [] : [`${what}: ${answer.trim()}`]
  }
  const key = (file: string) => readFileSync(join(secrets, file), 'utf8')
  const catalog = key('catalog_db_password')
  const psql = (user: string, password: string, database: string) =>
    `PGPASSWORD=${password} psql --host 127.0.0.1 --username ${user} --dbname ${database} --command 'select 1'`
  const consulAs = (token: string) => `CONSUL_HTTP_TOKEN_FILE= CONSUL_HTTP_TOKEN=${token}`
  return must(
    [
      ...(mode === 0o700 ? [] : [`the folder's mode is ${mode.toString(8)}`]),
      ...(await refused(
        'PostgreSQL takes a default password',
        'postgres',
        psql('postgres', 'postgres', 'postgres'),
        /authentication failed/,
      )),
      ...(await refused("catalog reads orders' database", 'postgres', psql('catalog', catalog, 'orders'), /permission denied/)),
      ...(await refused('Redis asks for no password', 'redis', 'redis-cli ping', /NOAUTH/)),
      ...(await refused(
        'RabbitMQ has another user than those of the services',
        'rabbitmq',
        'rabbitmqctl --silent list_users | grep -vwE "catalog|orders|fulfilment|backup|user" || echo none',
        /^none\s*$/,
      )),
      ...(await refused('Consul tells a stranger a setting', 'consul', `${consulAs('')} consul kv get film-store/shop/currency`, /403/)),
      ...(await refused(
        'catalog changes settings',
        'consul',
        `${consulAs(key('catalog_consul_token'))} consul kv put film-store/shop/currency EUR`,
        /403/,
      )),
      ...(await refused(
        'orders announces itself as catalog-api',
        'consul',
        `${consulAs(key('orders_consul_token'))} consul services register -name catalog-api`,
        /403/,
      )),
      ...(await refused('RabbitMQ takes guest', 'rabbitmq', 'rabbitmqctl authenticate_user guest guest', /[Ee]rror/)),
    ],
    'drawn at the first start; default ones, none, and those of a neighbour are refused',
  )
}

/** PID 1 is the service itself, and SIGTERM ends it with 0 before the engine loses patience. */
export async function leaves(project: ComposeProject, service: string, program = 'node'): Promise<string> {
  const first = (await exec(project, service, 'cat', '/proc/1/cmdline')).split('\0')
  const id = (await compose(project, 'ps', '--quiet', service)).trim()
  const from = performance.now()
  await compose(project, 'stop', service)
  const tookMs = performance.now() - from
  const code = (await docker(['inspect', '--format', '{{.State.ExitCode}}', id])).trim()
  return must(
    [
      ...(first[0] === program ? [] : [`process 1 is ${first.join(' ')}`]),
      ...(code === '0' ? [] : [`code ${code} after ${seconds(tookMs)}`]),
    ],
    `code 0 after ${seconds(tookMs)}`,
  )
}

/** While it waits for a Consul that stands still. */
export async function leavesAmidBackup(project: ComposeProject): Promise<string> {
  const id = (await compose(project, 'ps', '--quiet', 'backup')).trim()
  await compose(project, 'stop', 'backup')
  await compose(project, '--progress=quiet', 'run', '--rm', '--no-deps', '--entrypoint', 'rm', 'backup', '/metrics/consul.prom')
  await compose(project, 'pause', 'consul')
  try {
    // By itself: Compose would start Consul first, which is there.
    await docker(['start', id])
    const asks = async () => (await docker(['top', id])).includes('/v1/snapshot')
    for (const giveUpAt = performance.now() + 30_000; !(await asks()); await pause(200))
      if (performance.now() > giveUpAt) throw new Error('no backup of Consul was begun')
    return await leaves(project, 'backup', '/bin/bash')
  } finally {
    await compose(project, 'unpause', 'consul')
  }
}
