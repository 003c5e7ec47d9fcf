import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { composeContainers, type ComposeProject, docker } from '@platform/stack/compose'
import { certificatesEnd } from './certificates.ts'
import { isPartOf, projectName } from './project.ts'
import { secretsFolder } from './secrets.ts'
import { setting } from './settings.ts'

/** One thing that was looked at; without `fix` it is well. */
export interface Finding {
  readonly what: string
  readonly found: string
  /** The command, or the step, that mends it. */
  readonly fix?: string | undefined
  /** It may work all the same. */
  readonly warning?: boolean | undefined
}

/** As anybody can call it who has Node. */
const pnpm = 'npx --yes pnpm@12'
const needs = { engine: 25, compose: [2, 24], diskGb: 6, maps: 262_144 } as const
/** By the limits of what is started (`lint` adds them up), with room for the engine and for a rollout. */
const memoryGb = { core: 2.8, metrics: 0.3, grafana: 0.2, ha: 1.3, logs: 2.6 } as const

/** Looks at everything that would otherwise fail in the middle of `up`. Later checks need the engine and are left out without it. */
export async function diagnose(project: ComposeProject): Promise<Finding[]> {
  const engine = await engineOf()
  if (engine.fix) return [engine]
  const info = JSON.parse(await docker(['info', '--format', 'json'])) as { MemTotal: number; DockerRootDir: string }
  const volumes = await volumesOf(project)
  return [
    engine,
    ...(await Promise.all([composePlugin(), buildx()])),
    keysFit(project, volumes),
    ...(await stacks(project)),
    ...fits(project, volumes),
    ...backups({ ...process.env, ...project.env }),
    ...(await ports(project)),
    memory(info.MemTotal, project),
    disk(info.DockerRootDir),
    ...encryption(info.DockerRootDir),
    ...maps(project),
    ...certificates(project),
  ]
}

async function engineOf(): Promise<Finding> {
  const what = 'container engine'
  try {
    const version = (await docker(['version', '--format', '{{.Server.Version}}'])).trim()
    if (Number.parseInt(version, 10) >= needs.engine) return { what, found: version }
    return { what, found: version, fix: `install version ${needs.engine} or newer: https://docs.docker.com/engine/install` }
  } catch (error) {
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string }
    if (code === 'ENOENT') return { what, found: 'no docker command', fix: 'sudo apt-get install docker.io docker-compose docker-buildx' }
    if (/permission denied/i.test(stderr)) {
      return { what, found: 'this user may not use it', fix: 'sudo usermod --append --groups docker "$USER" && newgrp docker' }
    }
    return { what, found: 'it does not answer', fix: 'sudo systemctl start docker' }
  }
}

async function composePlugin(): Promise<Finding> {
  const what = 'Compose'
  const fix = 'sudo apt-get install docker-compose-plugin'
  const version = await docker(['compose', 'version', '--short']).catch(() => undefined)
  if (version === undefined) return { what, found: 'no compose plugin', fix }
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  const enough = major > needs.compose[0] || (major === needs.compose[0] && minor >= needs.compose[1])
  return { what, found: version.trim(), fix: enough ? undefined : `${fix} (${needs.compose.join('.')} or newer is needed)` }
}

async function buildx(): Promise<Finding> {
  const what = 'buildx'
  const version = await docker(['buildx', 'version']).catch(() => undefined)
  if (version === undefined) return { what, found: 'no buildx plugin', fix: 'sudo apt-get install docker-buildx-plugin' }
  return { what, found: version.split(' ')[1] ?? version.trim() }
}

function memory(bytes: number, project: ComposeProject): Finding {
  const gb = bytes / 1e9
  const isThere = (part: string) => project.profiles.includes(part) || (part === 'ha' && isPartOf(project, 'ha'))
  const need = Object.entries(memoryGb).reduce((sum, [part, each]) => (isThere(part) ? sum + each : sum), 0)
  const fix = gb < need ? `give the engine at least ${need.toFixed(1)} GB of memory` : undefined
  return { what: 'memory of the engine', found: `${gb.toFixed(1)} GB`, fix, warning: true }
}

/** The engine of a desktop keeps its files in a machine of its own, where this cannot look. */
function disk(folder: string): Finding {
  const what = 'disk of the engine'
  if (!existsSync(folder)) return { what, found: `${folder} is not on this machine` }
  const { bavail, bsize } = statfsSync(folder)
  const gb = (bavail * bsize) / 1e9
  return { what, found: `${gb.toFixed(0)} GB free`, fix: gb < needs.diskGb ? 'docker system prune && docker builder prune' : undefined }
}

/** What lies below the engine's files, as far as this machine tells: a provider's own encryption is seen by nobody inside. */
function encryption(folder: string): Finding[] {
  const what = 'encryption at rest'
  const device = spawnSync('findmnt', ['--noheadings', '--output', 'SOURCE', '--target', folder], { encoding: 'utf8' }).stdout?.trim()
  if (!device?.startsWith('/dev/')) return [{ what, found: 'cannot be told here' }]
  const types = spawnSync('lsblk', ['--noheadings', '--inverse', '--output', 'TYPE', device], { encoding: 'utf8' }).stdout ?? ''
  return [{ what, found: /\bcrypt\b/.test(types) ? 'dm-crypt' : 'no dm-crypt beneath the engine (docs/operations/outside.md)' }]
}

/** Elasticsearch maps its files. */
function maps(project: ComposeProject): Finding[] {
  const file = '/proc/sys/vm/max_map_count'
  if (!project.profiles.includes('logs') || !existsSync(file)) return []
  const found = readFileSync(file, 'utf8').trim()
  const fix = Number(found) < needs.maps ? `sudo sysctl -w vm.max_map_count=${needs.maps}` : undefined
  return [{ what: 'vm.max_map_count', found, fix }]
}

/** They are renewed by a container of the store, when it runs. */
function certificates(project: ComposeProject): Finding[] {
  if (!isPartOf(project, 'tls')) return []
  const what = 'certificates'
  const fix = `${pnpm} infra certificates`
  let end: Date | undefined
  try {
    end = certificatesEnd(secretsFolder({ ...process.env, ...project.env }))
  } catch (error) {
    return [{ what, found: `one cannot be read: ${(error as Error).message}`, fix, warning: true }]
  }
  if (end === undefined) return [{ what, found: 'made at the first start' }]
  const days = Math.floor((Number(end) - Date.now()) / 86_400_000)
  return [{ what, found: `the first ends in ${days} days`, fix: days < 3 ? fix : undefined, warning: true }]
}

interface Door {
  readonly service: string
  readonly variable: string
  readonly port: string
  readonly address: string
}

/** Where each part listens on this machine. */
function doors(project: ComposeProject): Door[] {
  const env = { ...process.env, ...project.env }
  const own = (service: string) => {
    const variable = `FILM_STORE_${service.toUpperCase()}_PORT`
    return { service, variable, port: setting(variable, env), address: '127.0.0.1' }
  }
  return [
    { service: 'gateway', variable: 'FILM_STORE_PORT', port: setting('FILM_STORE_PORT', env), address: setting('FILM_STORE_ADDRESS', env) },
    ...(project.profiles.includes('metrics') ? [own('prometheus'), own('alertmanager')] : []),
    ...(project.profiles.includes('grafana') ? [own('grafana')] : []),
    ...(project.profiles.includes('logs') ? [own('kibana'), own('jaeger')] : []),
  ]
}

async function ports(project: ComposeProject): Promise<Finding[]> {
  const running = await composeContainers(project).catch(() => [])
  const isOurs = ({ service }: Door) => running.some(({ Service, State }) => Service === service && State === 'running')
  return Promise.all(
    doors(project).map(async (door) => {
      const what = `port ${door.port}`
      return isOurs(door) ? { what, found: `taken by the store's own ${door.service}` } : { what, ...(await lookAt(door)) }
    }),
  )
}

async function lookAt({ variable, port, address }: Door): Promise<Pick<Finding, 'found' | 'fix'>> {
  const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen(Number(port), address, () => server.close(() => resolve(undefined)))
  })
  if (!error) return { found: 'free' }
  if (error.code === 'EADDRNOTAVAIL')
    return { found: `${address} is no address of this machine`, fix: 'FILM_STORE_ADDRESS=0.0.0.0, or one of `ip -brief address`' }
  // The engine binds it as root; whoever asks here may be somebody else.
  if (error.code === 'EACCES') return { found: 'cannot be told by this user' }
  const other = Number(port) < 65_535 ? Number(port) + 1 : 8080
  const fix = `${variable}=${other} ${pnpm} infra up    (or end what holds it: ss -ltnp 'sport = :${port}')`
  return { found: error.code === 'EADDRINUSE' ? 'taken by another program' : String(error.code), fix }
}

/** By the names that the files give them. */
async function volumesOf({ env }: ComposeProject): Promise<readonly string[]> {
  const of = `label=com.docker.compose.project=${projectName({ ...process.env, ...env })}`
  return (await docker(['volume', 'ls', '--filter', of, '--format', '{{.Label "com.docker.compose.volume"}}'])).split('\n').filter(Boolean)
}

/** PostgreSQL and RabbitMQ took the passwords of their first start into their volumes. */
export function keysFit({ env }: ComposeProject, volumes: readonly string[]): Finding {
  const what = 'secrets'
  const folder = secretsFolder({ ...process.env, ...env })
  const unfit = unfitForSecrets(folder)
  if (unfit !== undefined) return { what, ...unfit }
  if (existsSync(join(folder, 'complete'))) return { what, found: 'written' }
  if (volumes.length === 0) return { what, found: 'drawn at the first start' }
  const fix = `bring the folder back to ${folder}, or lose the data: ${pnpm} infra down --volumes`
  return { what, found: 'gone, while volumes with the old passwords are still there', fix }
}

/** What is drawn is written there, and its mode is what keeps others out. */
function unfitForSecrets(folder: string): Pick<Finding, 'found' | 'fix'> | undefined {
  const found = statSync(folder, { throwIfNoEntry: false })
  if (found === undefined) return undefined
  if (!found.isDirectory()) return { found: `${folder} is no folder`, fix: 'FILM_STORE_SECRETS names a folder of its own' }
  const isMine = process.getuid === undefined || process.getuid() === 0 || found.uid === process.getuid()
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    if (isMine) return undefined
    return { found: `${folder} is another user's`, fix: `sudo chown --recursive "$USER" ${quoted(folder)}` }
  } catch (error) {
    const isReadOnly = (error as NodeJS.ErrnoException).code === 'EROFS'
    if (isReadOnly) return { found: `${folder} is on a file system that is read-only`, fix: 'FILM_STORE_SECRETS names another folder' }
    return { found: `this user may not write into ${folder}`, fix: `sudo chown --recursive "$USER" ${quoted(folder)}` }
  }
}

/** A stack of this name, on this machine. */
export async function stackRuns(name: string): Promise<boolean> {
  return (await docker(['ps', '--quiet', '--filter', `label=com.docker.stack.namespace=${name}`])).trim() !== ''
}

/** A stack has volumes of the same names, and two PostgreSQL at once destroy what is in one. */
async function stacks({ env }: ComposeProject): Promise<Finding[]> {
  const name = projectName({ ...process.env, ...env })
  const fix = `docker stack rm ${name}, or another COMPOSE_PROJECT_NAME`
  return (await stackRuns(name)) ? [{ what: 'name', found: `a stack ${name} runs here, on the same volumes`, fix }] : []
}

/** Servers of a cluster keep their data otherwise than one alone: started the other way they begin anew, or with what is old. */
export function fits(project: ComposeProject, volumes: readonly string[]): Finding[] {
  const what = 'data'
  const isHa = isPartOf(project, 'ha')
  if (isHa && isPartOf(project, 'tls'))
    return [{ what: 'switches', found: 'the members of a cluster speak with each other in plain text', fix: 'one of --tls and --ha' }]
  if (volumes.includes('postgres-2-data') && !isHa) return [{ what, found: 'is that of a store with --ha', fix: `${pnpm} infra up --ha` }]
  if (isHa && volumes.includes('rabbitmq-data') && !volumes.includes('postgres-2-data'))
    return [{ what, found: 'is that of a store without --ha', fix: 'docs/operations/failover.md#from-one-to-several' }]
  return []
}

/** The user of the containers must write there; the engine would make the folder root's. */
export function backups(env: NodeJS.ProcessEnv): Finding[] {
  const folder = env['FILM_STORE_BACKUPS']
  if (!folder) return []
  const what = 'folder of the backups'
  const fix = `sudo install --directory --owner=999 --group=999 ${quoted(folder)}`
  const found = statSync(folder, { throwIfNoEntry: false })
  if (found === undefined) return [{ what, found: `${folder} is not there`, fix }]
  if (!found.isDirectory()) return [{ what, found: `${folder} is no folder`, fix: 'FILM_STORE_BACKUPS names a folder' }]
  return [{ what, found: `${folder}, of the user ${found.uid}`, fix: found.uid === 999 ? undefined : fix, warning: true }]
}

/** For a shell. */
const quoted = (path: string) => (/^[\w/.-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`)
