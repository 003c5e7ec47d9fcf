import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ComposeConfig, stackOf } from './stack.ts'

interface Stack {
  services: Record<
    string,
    {
      image: string
      hostname: string
      environment: object
      networks: Record<string, { aliases: string[] }>
      deploy: Record<string, unknown>
      configs: { source: string; target: string }[]
    }
  >
  secrets: Record<string, { name: string }>
  configs: Record<string, unknown>
  volumes: object
  networks: Record<string, object>
}

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'film-store-stack-test-'))
  writeFileSync(join(folder, 'password'), 'first')
  writeFileSync(join(folder, 'nginx.conf'), 'events {}')
})
afterEach(() => rmSync(folder, { recursive: true }))

const limits = { mem_limit: '268435456', cpus: 1, pids_limit: 64 }
const api = (instance: string) => ({
  ...limits,
  image: 'film-store/catalog-api',
  environment: { CATALOG_INSTANCE: instance, CATALOG_HTTP_PORT: '3000' },
  networks: { app: null },
  secrets: [{ source: 'db_url' }],
})

function compose(): ComposeConfig {
  const restart = 'no'
  return {
    services: {
      'catalog-api-1': api('1'),
      'catalog-api-2': api('2'),
      'migrate-catalog': { ...api('1'), restart },
      postgres: {
        ...limits,
        image: 'film-store/postgres',
        networks: { data: null },
        volumes: [{ type: 'volume', source: 'postgres-data', target: '/data' }],
      },
      nginx: {
        ...limits,
        image: 'nginx:1.30',
        networks: { app: { aliases: ['door'] }, edge: null },
        ports: [{ target: 8080, published: '80', protocol: 'tcp' }],
        volumes: [{ type: 'bind', source: join(folder, 'nginx.conf'), target: '/etc/nginx/nginx.conf', read_only: true }],
        tmpfs: ['/tmp:size=16m,mode=1777'],
      },
    },
    networks: { app: { internal: true }, data: { internal: true }, edge: null, obs: null },
    volumes: { 'postgres-data': null, 'prometheus-data': null },
    secrets: { db_url: { file: join(folder, 'password') } },
  }
}

const made = (part: 'foundations' | 'services' = 'services') =>
  stackOf(compose(), { stack: 'film-store', version: '2', registry: 'ghcr.io/o', part }) as Stack

describe('the stack', () => {
  it('makes instances replicas of one service that answers to their names', () => {
    const { services } = made()
    expect(Object.keys(services)).toEqual(['catalog-api', 'postgres', 'nginx'])
    expect(services['catalog-api']).toMatchObject({
      image: 'ghcr.io/o/catalog-api:2',
      hostname: 'catalog-api-{{.Task.Slot}}',
      environment: { CATALOG_INSTANCE: '{{.Task.Slot}}', CATALOG_HTTP_PORT: '3000', OTEL_RESOURCE_ATTRIBUTES: 'service.version=2' },
      networks: { app: { aliases: ['catalog-api-1', 'catalog-api-2'] } },
      deploy: {
        replicas: 2,
        update_config: { order: 'start-first', failure_action: 'rollback' },
        resources: { limits: { memory: '268435456', cpus: '1', pids: 64 } },
      },
    })
  })

  it('ends first what holds a port or data, and keeps data on its node', () => {
    const { postgres, nginx } = made().services
    expect(postgres!.deploy).toMatchObject({
      update_config: { order: 'stop-first' },
      placement: { constraints: ['node.labels.film-store == data'] },
    })
    expect(nginx!.deploy).toMatchObject({ update_config: { order: 'stop-first' }, placement: { max_replicas_per_node: 1 } })
  })

  it('replaces a server of ours when its own files change, not with each release', () => {
    const of = (version: string) => (stackOf(compose(), { stack: 'film-store', version, part: 'services' }) as Stack).services
    expect(of('2')['postgres']!.image).toBe(of('3')['postgres']!.image)
    expect(of('2')['catalog-api']!.image).not.toBe(of('3')['catalog-api']!.image)
  })

  it('leaves the gateway what it was, when it is told', () => {
    const config = compose()
    const gateway = { ...limits, image: 'film-store/gateway' }
    const of = (gatewayVersion?: string) =>
      stackOf(
        { ...config, services: { ...config.services, gateway } },
        { stack: 'film-store', version: '2', gatewayVersion, part: 'services' },
      ) as Stack
    expect(of('1').services['gateway']!.image).toBe('film-store/gateway:1')
    expect(of().services['gateway']!.image).toBe('film-store/gateway:2')
  })

  it('has servers and migrations before the services', () => {
    const { services } = made('foundations')
    expect(Object.keys(services)).toEqual(['migrate-catalog', 'postgres', 'nginx'])
    expect(services['migrate-catalog']!.deploy).toMatchObject({ mode: 'replicated-job', restart_policy: { condition: 'on-failure' } })
  })

  it('names secrets and configs after what is in them', () => {
    const before = made()
    writeFileSync(join(folder, 'password'), 'second')
    const after = made()
    expect(after.secrets['db_url']!.name).not.toBe(before.secrets['db_url']!.name)
    expect(Object.keys(after.configs)).toEqual(Object.keys(before.configs))
    expect(after.services['nginx']!.configs[0]).toMatchObject({ target: '/etc/nginx/nginx.conf' })
  })

  it('keeps the names of two stacks apart, each within what a swarm takes', () => {
    const of = (stack: string) => stackOf(compose(), { stack, version: '2', part: 'services' }) as Stack
    const names = (stack: string) => [...Object.keys(of(stack).configs), ...Object.values(of(stack).secrets).map(({ name }) => name)]
    const long = names('a-store-whose-name-is-far-longer-than-anybody-needs-it')
    expect(names('one').filter((name) => names('two').includes(name))).toEqual([])
    expect(new Set(long).size).toBe(2)
    expect(long.filter((name) => name.length > 64)).toEqual([])
  })

  it('leaves a folder that is written into, such as that of the backups, on its node', () => {
    const config = compose()
    const volumes = [{ type: 'bind', source: folder, target: '/backups' }]
    const { backup } = (
      stackOf(
        { ...config, services: { backup: { ...limits, image: 'film-store/postgres', volumes } } },
        { stack: 's', version: '2', part: 'services' },
      ) as {
        services: { backup: { volumes: object[]; configs: object[]; deploy: object } }
      }
    ).services
    expect(backup).toMatchObject({ volumes, configs: [], deploy: { placement: { constraints: ['node.labels.film-store == data'] } } })
  })

  it('has the networks and volumes that are used, and no way out where there was none', () => {
    const { networks, volumes } = made()
    expect(networks).toEqual({
      app: { driver: 'overlay', internal: true },
      data: { driver: 'overlay', internal: true },
      edge: { driver: 'overlay' },
    })
    expect(Object.keys(volumes)).toEqual(['postgres-data'])
  })
})
