/** The film store in containers: `pnpm infra up | down | status | logs | doctor | dev`. */
import { join } from 'node:path'
import { composeInView, type ComposeProject, docker } from '@platform/stack/compose'
import { readArguments } from './arguments.ts'
import { ask } from './ask.ts'
import { authorityFile, ownUser, prepareCertificates, renewCertificates } from './certificates.ts'
import { deployStack } from './deploy-command.ts'
import { diagnose, stackRuns } from './doctor.ts'
import { failuresFor } from './failures.ts'
import { holdStore } from './one-at-a-time.ts'
import {
  allProfiles,
  dockerFolder,
  filmStore,
  isPartOf,
  type Override,
  type Profile,
  projectName,
  startedWith,
  variants,
} from './project.ts'
import { rehearseOnOwnStores } from './rehearsal-store.ts'
import { release } from './release.ts'
import { push } from './push.ts'
import { restore } from './restore.ts'
import { rotateCredentials } from './rotate.ts'
import { firstOf, rolledOut, rollout } from './rollout.ts'
import { removeSecrets, secretsFolder, writeSecrets } from './secrets.ts'
import { loadSettings, setting } from './settings.ts'
import { rehearseStack } from './stack-rehearsal.ts'
import { printSloReport, sloReport } from './slo-report.ts'
import { printStatus } from './store-status.ts'
import { usage } from './usage.ts'

const given = read()
const { command, words, values } = given
const name = projectName()
const folder = secretsFolder()
const env = { COMPOSE_PROJECT_NAME: name, FILM_STORE_SECRETS: folder, FILM_STORE_USER: ownUser(), FILM_STORE_RELEASE: release() }
const asked = variants.filter((variant) => values[variant])
/** What it is, and what it is to be besides. */
const running = await startedWith(name)
const chosen: readonly Override[] = variants.filter((variant) => running.includes(variant) || asked.includes(variant))
const watched: readonly Profile[] = chosen.includes('logs') ? [...allProfiles, 'logs'] : allProfiles
const store = filmStore(chosen, env, watched)
/** Whatever may have been started at some time: what is gone with `down` is known by its file alone. */
const everStarted = filmStore([...variants, 'inspect'], env, [...allProfiles, 'logs'])
const stop = new AbortController()
// What it has begun hears of Ctrl-C by itself; this waits for it, and has time to take back what was half done. The second one ends it at once. So it is
// with a terminal that is gone, to which nothing can be told any more.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => (stop.signal.aborted ? process.exit(130) : stop.abort(new Error(`stopped by ${signal}`))))
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

function read(): Exclude<ReturnType<typeof readArguments>, 'help'> {
  try {
    const found = readArguments(process.argv.slice(2))
    if (found === 'help') {
      console.log(usage)
      process.exit(process.argv.length > 2 ? 0 : 1)
    }
    loadSettings(join(dockerFolder, '.env'))
    return found
  } catch (error) {
    console.error(`${(error as Error).message}; \`pnpm infra --help\` lists what there is`)
    process.exit(2)
  }
}

/** What is to run. */
function wanted(...overrides: Override[]): ComposeProject {
  const profiles: Profile[] = [
    ...(values.metrics || values.grafana ? (['metrics'] as const) : []),
    ...(values.grafana ? (['grafana'] as const) : []),
    ...(chosen.includes('logs') ? (['logs'] as const) : []),
  ]
  return filmStore([...overrides, ...chosen, ...(values.inspect ? (['inspect'] as const) : [])], env, ['core', ...profiles])
}
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`
const onProgress = (line: string) => console.log(line)

async function doctor(quiet: boolean): Promise<boolean> {
  const findings = await diagnose(wanted())
  for (const { what, found, fix, warning } of findings) {
    if (quiet && !fix) continue
    console.log(`${fix ? (warning ? 'warn' : 'FAIL') : ' ok '} ${what.padEnd(22)} ${found}`)
    if (fix) console.log(`     ${' '.repeat(22)} → ${fix}`)
  }
  return findings.every(({ fix, warning }) => !fix || warning)
}

async function build(of: ComposeProject): Promise<boolean> {
  const startedAt = performance.now()
  if ((await composeInView(of, '--progress=quiet', 'build')) !== 0) return false
  const images = (await docker(['images', '--format', '{{.Repository}} {{.Size}}', '--filter', 'reference=film-store/*:latest'])).trim()
  console.log(`Images built in ${seconds(startedAt)}: ${images.split('\n').toSorted().join(', ')}`)
  return true
}

async function start(of: ComposeProject): Promise<boolean> {
  const code = await composeInView(of, '--progress=quiet', 'up', '--detach', '--no-build', '--wait', '--wait-timeout', '300')
  return (await printStatus(store)) && code === 0
}

async function up(...overrides: Override[]): Promise<boolean> {
  const startedAt = performance.now()
  const of = wanted(...overrides)
  if (!(await doctor(true))) return false
  const isTls = isPartOf(of, 'tls')
  if (writeSecrets(folder)) console.log(`Passwords drawn into ${folder}`)
  if (isTls) prepareCertificates(folder)
  if (!values['no-build'] && !(await build(of))) return false
  const upAt = performance.now()
  if (!(await start(of))) {
    console.log('Not all is well; `pnpm infra logs <service>` says why.')
    return false
  }
  console.log(`\nAll is well ${seconds(upAt)} after the start; set-up time ${seconds(startedAt)}.`)
  const address = setting('FILM_STORE_ADDRESS')
  const host = address === '0.0.0.0' ? '127.0.0.1' : address
  console.log(`${isTls ? 'https' : 'http'}://${host}:${setting('FILM_STORE_PORT')}/films?query=matrix`)
  if (isTls) console.log(`The authority to trust: ${authorityFile(folder)}`)
  return true
}

async function down(): Promise<boolean> {
  // It has volumes and passwords of the same names.
  if (values.volumes && (await stackRuns(name)))
    throw new Error(`a stack ${name} runs here, whose passwords these are: docker stack rm ${name} ends it`)
  const volumes = values.volumes ? ['--volumes'] : []
  const code = await composeInView(everStarted, '--progress=quiet', 'down', '--remove-orphans', ...volumes)
  if (code === 0 && values.volumes) removeSecrets(folder)
  return code === 0
}

/** The image of before has no name while the new one is built, and gets it back when that does not do. */
async function rollOut(service: string): Promise<boolean> {
  const ofService = rolledOut.includes(service) && values.image === undefined && !values['no-build']
  if (ofService && (await composeInView(store, '--progress=quiet', 'build', firstOf(service))) !== 0) return false
  await rollout({ project: store, service, image: values.image, signal: stop.signal, onProgress })
  return true
}

async function restoreFromBackup(): Promise<boolean> {
  // What it starts first is started as it will stay.
  const of = wanted()
  if (!values['no-build'] && !(await build(of))) return false
  return restore({ project: of, secrets: folder, to: values.to, up: () => start(of), onProgress })
}

async function pushImages(): Promise<void> {
  const { version, registry, plain } = values
  if (version === undefined || registry === undefined) throw new Error('--registry says where to, --version under which tag')
  await push({ project: wanted(), registry, version, plain, onProgress })
}

async function rehearsed(results: Promise<readonly { readonly fault?: string }[]>): Promise<void> {
  const failed = (await results).filter(({ fault }) => fault !== undefined)
  if (failed.length > 0) throw new Error(`${failed.length} did not hold`)
}

async function renewAll(): Promise<void> {
  if (!isPartOf(store, 'tls')) throw new Error('this store has no certificates of its own: `pnpm infra up --tls`')
  onProgress((await renewCertificates(store)).trim())
}

/** A command rejects with what went wrong, or answers `false` when that has been said. */
type Work = () => Promise<unknown>

const alone: Readonly<Record<string, Work>> = {
  up: () => up(),
  down,
  dev: () => up('dev'),
  restore: restoreFromBackup,
  rollout: () => rollOut(words[0]!),
  rotate: async () => {
    if (isPartOf(store, 'tls')) await renewAll()
    await rotateCredentials({ project: store, secrets: folder, signal: stop.signal, onProgress })
  },
}
const beside: Readonly<Record<string, Work>> = {
  build: () => build(wanted()),
  status: () => printStatus(store),
  logs: async () => (await composeInView(store, 'logs', '--follow', '--tail', '200', ...words)) === 0,
  compose: async () => (await composeInView(store, ...words)) === 0,
  ask: async () => void process.stdout.write(await ask(store, words)),
  doctor: () => doctor(false),
  slo: async () => console.log(printSloReport(await sloReport(`http://127.0.0.1:${setting('FILM_STORE_PROMETHEUS_PORT')}`, stop.signal))),
  certificates: renewAll,
  backup: async () => (await composeInView(store, 'exec', '-T', 'backup', 'backup', 'now')) === 0,
  deploy: () => deployStack({ project: wanted(), secrets: folder, values: { stack: name, ...values }, signal: stop.signal, onProgress }),
  push: pushImages,
  'rehearse-stack': () => rehearsed(rehearseStack(onProgress, stop.signal)),
  rehearse: () =>
    rehearsed(rehearseOnOwnStores({ failures: failuresFor(words), build: !values['no-build'], onProgress, signal: stop.signal })),
}

async function run(): Promise<unknown> {
  const free = beside[command]
  if (free !== undefined) return free()
  {
    await using _held = await holdStore(name, `infra ${command}`)
    if ((await alone[command]!()) === false) return false
  }
  return command !== 'dev' || (await composeInView(wanted('dev'), 'watch', '--no-up')) === 0
}

try {
  process.exitCode = (await run()) === false ? 1 : 0
} catch (error) {
  // What went wrong, without the place in this program where it did.
  console.error((error as Error).message)
  process.exitCode = 1
}
