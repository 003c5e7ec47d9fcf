/** The film store in containers: `pnpm infra up | down | status | logs | doctor | dev`. */
import { parseArgs } from 'node:util'
import { composeContainers, composeInView, type ComposeProject, docker, isWell } from '@platform/stack/compose'
import { authorityFile, ownUser, prepareCertificates, renewCertificates } from './certificates.ts'
import { deploy } from './deploy.ts'
import { diagnose } from './doctor.ts'
import { allProfiles, filmStore, type Override, type Profile } from './project.ts'
import { rehearseOnItsOwn } from './rehearsal-store.ts'
import { push } from './push.ts'
import { restore } from './restore.ts'
import { rotateCredentials } from './rotate.ts'
import { firstOf, rolledOut, rollout } from './rollout.ts'
import { removeSecrets, secretsFolder, writeSecrets } from './secrets.ts'
import { rehearseStack } from './stack-rehearsal.ts'
import { printSloReport, sloReport } from './slo-report.ts'

const usage = `Usage: pnpm infra <command>
  up                  checks the machine, draws passwords at the first time, builds the images, starts, waits until all is well
     --no-build       with the images that are there
     --inspect        databases and probes are published on 127.0.0.1 as well
     --ha             no server is alone: two PostgreSQL, three of RabbitMQ and Consul, two Redis with three sentinels
     --tls            all parts speak TLS with each other, and the gateway with customers; not together with --ha
     --metrics        with what watches it: Prometheus and Alertmanager on 127.0.0.1, ports 9090 and 9093
     --grafana        and with the dashboard, port 3000
     --logs           with Elasticsearch, Logstash, Filebeat, Kibana (port 5601) and Jaeger (16686): 3 GB more; not run yet
  build               the images alone
  down                ends it; the data stays
     --volumes        the data and the passwords go, too
  status              what runs and how it is
  logs [service …]    what they write, following
  doctor              what stands in the way, and the command that mends it
  rollout <service>   replaces its instances one by one, each new one beside the old; goes back by itself when a new one does not do
     --image IMAGE    with this image in place of one that is built now
  backup              one now, beside the one of each day: databases, definitions of RabbitMQ, what Consul holds
  restore             fills empty volumes from the backups in FILM_STORE_BACKUPS with the passwords of the store that was lost, and starts it
     --to TIME        as it was then, such as '2026-01-31 12:00:00+00'; otherwise all that was archived
  rotate              every service gets its other user with a new password in PostgreSQL and RabbitMQ, and is replaced under load;
                      with --tls certificates are renewed as well. For a timer
  certificates        all anew, now, of a store with --tls; each part takes its own over within ten seconds
  rehearse-tls        a store of its own with --tls: certificates are renewed under load, plain connections refused, the books compared
  failover            a store of its own with --ha: kills each leader under load, sees orders flow again, compares the books
  drill               a store of its own trades and is destroyed; another is restored from its backups, and the books are compared
  deploy              to the swarm that docker talks to (DOCKER_HOST): servers, migrations, then the services; goes back by itself
     --version TAG    of the images; --registry PREFIX: where they come from; --stack NAME (film-store)
     --gateway TAG    of the gateway, where it stays what it was; otherwise it is replaced as well, which is a gap of some seconds on its node
  push                builds our images and pushes them to --registry under --version, with provenance and the list of their parts
  rehearse-stack      the same on a swarm of this machine alone, under load, with a release that does not start
  slo                 what became of the objectives in the last 30 days, as Prometheus has it
  rehearse            a store of its own whose alerts run sixty times as fast: breaks it, sees each alert fire, find its receiver, resolve
  dev                 up, then carries every edit of a source into the containers and restarts what uses it
FILM_STORE_ADDRESS (127.0.0.1) and FILM_STORE_PORT (8080) are where the gateway listens; COMPOSE_PROJECT_NAME (film-store) lets two stores live side by side.`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'no-build': { type: 'boolean', default: false },
    inspect: { type: 'boolean', default: false },
    ha: { type: 'boolean', default: false },
    tls: { type: 'boolean', default: false },
    logs: { type: 'boolean', default: false },
    metrics: { type: 'boolean', default: false },
    image: { type: 'string' },
    to: { type: 'string' },
    version: { type: 'string' },
    gateway: { type: 'string' },
    registry: { type: 'string' },
    stack: { type: 'string', default: 'film-store' },
    grafana: { type: 'boolean', default: false },
    volumes: { type: 'boolean', short: 'v', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
const [command = '', ...rest] = positionals
const folder = secretsFolder()
const env = { FILM_STORE_SECRETS: folder, FILM_STORE_USER: ownUser() }
/** Whatever of it runs; containers of `--ha` are found by their project. */
const chosen: readonly Override[] = [...(values.ha ? (['ha'] as const) : []), ...(values.tls ? (['tls'] as const) : [])]
const store = filmStore(chosen, env, allProfiles)
/** What may have been started at some time: volumes of the gatherers are known by their file alone. */
const everStarted = filmStore([...chosen, 'logs'], env, [...allProfiles, 'logs'])
/** What is to run. */
function wanted(...overrides: Override[]): ComposeProject {
  const watched: Profile[] = [
    ...(values.metrics || values.grafana ? (['metrics'] as const) : []),
    ...(values.grafana ? (['grafana'] as const) : []),
    ...(values.logs ? (['logs'] as const) : []),
  ]
  const given: Override[] = [...chosen, ...(values.logs ? (['logs'] as const) : []), ...(values.inspect ? (['inspect'] as const) : [])]
  return filmStore([...overrides, ...given], env, ['core', ...watched])
}
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`

async function doctor(quiet: boolean): Promise<boolean> {
  const findings = await diagnose(wanted())
  for (const { what, found, fix, warning } of findings) {
    if (quiet && !fix) continue
    console.log(`${fix ? (warning ? 'warn' : 'FAIL') : ' ok '} ${what.padEnd(22)} ${found}`)
    if (fix) console.log(`     ${' '.repeat(22)} → ${fix}`)
  }
  return findings.every(({ fix, warning }) => !fix || warning)
}

async function status(): Promise<boolean> {
  const found = await composeContainers(store)
  for (const container of found) {
    const state = container.State === 'running' ? container.Health || 'running' : `${container.State} (${container.ExitCode})`
    console.log(`${isWell(container) ? ' ok ' : 'FAIL'} ${container.Service.padEnd(20)} ${state}`)
  }
  if (found.length === 0) console.log('Nothing runs; `pnpm infra up` starts it.')
  return found.length > 0 && found.every(isWell)
}

async function build(of: ComposeProject): Promise<boolean> {
  const startedAt = performance.now()
  if ((await composeInView(of, '--progress=quiet', 'build')) !== 0) return false
  const images = (await docker(['images', '--format', '{{.Repository}} {{.Size}}', '--filter', 'reference=film-store/*:latest'])).trim()
  console.log(`Images built in ${seconds(startedAt)}: ${images.split('\n').toSorted().join(', ')}`)
  return true
}

async function up(...overrides: Override[]): Promise<boolean> {
  const startedAt = performance.now()
  const of = wanted(...overrides)
  if (!(await doctor(true))) return false
  if (values.tls && values.ha) {
    console.log('--tls and --ha together are not built: the members of a cluster speak with each other in plain text')
    return false
  }
  if (writeSecrets(folder)) console.log(`Passwords drawn into ${folder}`)
  if (values.tls) prepareCertificates(folder)
  if (!values['no-build'] && !(await build(of))) return false
  const upAt = performance.now()
  const code = await composeInView(of, '--progress=quiet', 'up', '--detach', '--no-build', '--wait', '--wait-timeout', '300')
  const well = await status()
  if (code !== 0 || !well) {
    console.log('Not all is well; `pnpm infra logs <service>` says why.')
    return false
  }
  console.log(`\nAll is well ${seconds(upAt)} after the start; set-up time ${seconds(startedAt)}.`)
  console.log(`${values.tls ? 'https' : 'http'}://127.0.0.1:${process.env['FILM_STORE_PORT'] ?? '8080'}/films?query=matrix`)
  if (values.tls) console.log(`The authority to trust: ${authorityFile(folder)}`)
  return true
}

/** The image of before has no name while the new one is built, and gets it back when that does not do. */
async function rollOut(service: string): Promise<boolean> {
  const ofService = rolledOut.includes(service) && values.image === undefined && !values['no-build']
  if (ofService && (await composeInView(store, '--progress=quiet', 'build', firstOf(service))) !== 0) return false
  return told(() => rollout({ project: store, service, image: values.image, onProgress }))
}

async function restoreFromBackup(): Promise<boolean> {
  if (!values['no-build'] && !(await build(wanted()))) return false
  const up = async () => {
    const code = await composeInView(wanted(), '--progress=quiet', 'up', '--detach', '--no-build', '--wait', '--wait-timeout', '300')
    return code === 0 && status()
  }
  let isWell = false
  const done = await told(async () => {
    isWell = await restore({ project: store, secrets: folder, to: values.to, up, onProgress })
  })
  return done && isWell
}

const onProgress = (line: string) => console.log(line)

async function told(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    console.error((error as Error).message)
    return false
  }
}

function deployStack(): Promise<boolean> {
  return told(async () => {
    const { version, registry, stack, gateway: gatewayVersion } = values
    if (version === undefined) throw new Error('--version says which images: a release is a tag of its own')
    await deploy({ project: wanted(), stack, version, registry, gatewayVersion, onProgress })
  })
}

function pushImages(): Promise<boolean> {
  return told(async () => {
    const { version, registry } = values
    if (version === undefined || registry === undefined) throw new Error('--registry says where to, --version under which tag')
    await push({ project: wanted(), registry, version, onProgress })
  })
}

async function run(): Promise<boolean> {
  switch (command) {
    case 'up':
      return up()
    case 'build':
      return build(wanted())
    case 'down': {
      const code = await composeInView(
        everStarted,
        '--progress=quiet',
        'down',
        '--remove-orphans',
        ...(values.volumes ? ['--volumes'] : []),
      )
      if (code === 0 && values.volumes) removeSecrets(folder)
      return code === 0
    }
    case 'status':
      return status()
    case 'logs':
      return (await composeInView(store, 'logs', '--follow', '--tail', '200', ...rest)) === 0
    case 'doctor':
      return doctor(false)
    case 'slo':
      console.log(printSloReport(await sloReport(`http://127.0.0.1:${process.env['FILM_STORE_PROMETHEUS_PORT'] ?? '9090'}`)))
      return true
    case 'rotate':
      return told(async () => {
        if (values.tls) onProgress((await renewCertificates(store)).trim())
        await rotateCredentials({ project: store, secrets: folder, onProgress })
      })
    case 'certificates':
      return told(async () => onProgress((await renewCertificates(store)).trim()))
    case 'backup':
      return (await composeInView(store, 'exec', '-T', 'backup', 'backup', 'now')) === 0
    case 'restore':
      return restoreFromBackup()
    case 'deploy':
      return deployStack()
    case 'push':
      return pushImages()
    case 'rehearse-stack': {
      const results = await rehearseStack(onProgress)
      return results.every(({ fault }) => fault === undefined)
    }
    case 'rollout':
      return rollOut(rest[0] ?? '')
    case 'rehearse': {
      const rehearsals = await rehearseOnItsOwn(!values['no-build'], (line) => console.log(line))
      return rehearsals.every(({ fault }) => fault === undefined)
    }
    case 'dev':
      return (await up('dev')) && (await composeInView(wanted('dev'), 'watch', '--no-up')) === 0
    default:
      console.log(usage)
      return values.help
  }
}

process.exitCode = (await run()) ? 0 : 1
