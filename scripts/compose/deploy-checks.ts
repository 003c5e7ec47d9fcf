import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { oneNodeSwarm, removeStack } from '../../examples/containers/src/index.ts'
import { docker } from '../../packages/stack/src/compose.ts'
import { freePort } from '../../packages/stack/src/index.ts'
import { copyRepository } from '../local-registry.ts'
import { root } from '../pinned-node.ts'
import { type JobOutcome, runJob } from '../workflows/run-job.ts'
import { check, leavesNothing, must } from './check.ts'
import { missingForDeploy } from './deploy-needs.ts'
import { startImageRegistry } from './image-registry.ts'
import { imageWith } from './image-with.ts'
import { startSshHost } from './ssh-host.ts'

const repository = 'Somebody/Film-Store'
const secretNames = ['DEPLOY_SSH_KEY', 'DEPLOY_KNOWN_HOSTS', 'DEPLOY_TARGET', 'DEPLOY_FOLDER'] as const
type Secrets = Readonly<Record<(typeof secretNames)[number], string>>

/**
 * The commands of `deploy.yml` as they stand there: images into a registry of its own, then over SSH into a clone on this machine, whose engine is a swarm of
 * one. What only GitHub does (actions, environments, who may allow them) is left out, and so are provenance and the list of parts.
 */
export async function deployChecks(): Promise<void> {
  const isComplete = await check('what stands for a host and a registry is here', () => {
    const missing = missingForDeploy()
    return must(missing === undefined ? [] : [missing], 'a server of SSH, a registry')
  })
  if (!isComplete) return
  await using opened = new AsyncDisposableStack()
  const name = `film-store-deploy-${process.pid}`
  const folder = mkdtempSync(join(tmpdir(), 'film-store-deploy-'))
  opened.defer(() => rmSync(folder, { recursive: true, force: true }))
  const place = (...path: string[]) => join(folder, ...path)
  const git = (cwd: string, ...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=deploy', '-c', 'user.email=deploy@localhost', ...args], { cwd, encoding: 'utf8' }).trim()

  const origin = place('origin')
  await copyRepository(origin)
  const release = (what: string) => {
    git(origin, 'commit', '--quiet', '--no-verify', '--allow-empty', '--message', what)
    return git(origin, 'rev-parse', 'HEAD')
  }
  // A folder as people have them: with a blank in its name.
  const clone = place('film store')
  git(folder, 'clone', '--quiet', origin, clone)
  const port = await freePort()
  writeFileSync(join(clone, 'docker/.env'), `COMPOSE_PROJECT_NAME=${name}\nFILM_STORE_PORT=${port}\n`)

  for (const each of ['temp', 'runner-docker', 'host-docker']) mkdirSync(place(each))
  const registry = opened.use(await startImageRegistry(folder))
  const host = opened.use(
    await startSshHost(folder, { ...reaching(), DOCKER_CONFIG: place('host-docker'), npm_config_cache: place('npm') }),
  )
  const signIn = (config: string) =>
    execFileSync('docker', ['login', registry.address, '--username', registry.user, '--password-stdin'], {
      env: { ...process.env, DOCKER_CONFIG: config },
      input: registry.password,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
  // Managers are signed in once, by hand.
  signIn(place('host-docker'))
  opened.defer(() => removeImages(registry.address))
  opened.use(await oneNodeSwarm())
  opened.defer(() => removeStack(name).catch(() => {}))

  const secrets: Secrets = {
    DEPLOY_SSH_KEY: host.key.replaceAll('\n', '\r\n'),
    DEPLOY_KNOWN_HOSTS: host.knownHosts,
    DEPLOY_TARGET: host.target,
    DEPLOY_FOLDER: clone,
  }
  const said: string[] = []
  const job = async (which: 'images' | 'deploy', version: string, other: Partial<Secrets> & { GITHUB_TOKEN?: string } = {}) => {
    const told = { GITHUB_TOKEN: registry.password, ...secrets, ...other }
    const outcome = await runJob({
      file: join(root, '.github/workflows/deploy.yml'),
      job: which,
      values: {
        'github.actor': registry.user,
        'github.repository': repository,
        'github.sha': version,
        'inputs.environment': 'production',
        ...Object.fromEntries(Object.entries(told).map(([key, text]) => [`secrets.${key}`, text])),
      },
      env: { REGISTRY: registry.address, DOCKER_CONFIG: place('runner-docker') },
      cwd: root,
      withinMs: 240_000,
      temp: place('temp'),
      // A builder that keeps provenance is an image of its own, and reaches no registry on 127.0.0.1.
      instead: (command) => command.replace(/( infra push .*)$/, '$1 --plain'),
    })
    said.push(outcome.text)
    return outcome
  }
  const good = ({ isGood, failed, text }: JobOutcome) => (isGood ? [] : [`"${failed}": ${text.trim().slice(-600)}`])
  const ends = ({ isGood, failed, text }: JobOutcome, step: string, words: readonly string[]) => [
    ...(isGood ? ['it was taken'] : failed === step ? [] : [`it ended at "${failed}"`]),
    ...(words.every((each) => text.includes(each)) ? [] : [`it says: ${text.trim().slice(-600)}`]),
  ]
  const versionOf = async (service: string) =>
    /:([^@]*)/.exec(
      (await docker(['service', 'inspect', '--format', '{{.Spec.TaskTemplate.ContainerSpec.Image}}', `${name}_${service}`]))
        .trim()
        .slice(registry.address.length),
    )?.[1]
  const runs = async (version: string, services = ['catalog-api', 'orders-api', 'fulfilment-worker', 'gateway']) => {
    const others = await Promise.all(
      services.map(async (each) => ((await versionOf(each)) === version ? [] : [`${each} runs another release`])),
    )
    const { status } = await fetch(`http://127.0.0.1:${port}/films/1`)
    return [...others.flat(), ...(status === 200 ? [] : [`a customer is answered with ${status}`])]
  }

  const [first, second, broken] = [release('first'), release('second'), release('broken')]
  await check('a token that the registry does not take ends it', async () =>
    must(ends(await job('images', first, { GITHUB_TOKEN: 'wrong' }), 'Sign in to the registry', ['401']), 'before anything is built'),
  )
  await check('each secret that is missing is named', async () => {
    const none = Object.fromEntries(secretNames.map((each) => [each, '']))
    return must(
      ends(await job('deploy', first, none), 'Know the host, and be known to it', ["'production'", ...secretNames]),
      'all of them at once',
    )
  })
  await check('another host under its name is refused', async () =>
    must(
      ends(await job('deploy', first, { DEPLOY_KNOWN_HOSTS: host.strangersLine }), 'Deploy there', ['Host key verification failed']),
      'before anything is sent',
    ),
  )
  await check('a commit that nobody has is refused', async () =>
    must(ends(await job('deploy', '0'.repeat(40)), 'Deploy there', ['0'.repeat(40)]), 'and nothing is begun'),
  )
  await check('images of a release are in the registry', async () => must(good(await job('images', first)), first.slice(0, 12)))
  await check('a clone as it comes is deployed', async () => {
    const outcome = await job('deploy', first)
    const passwords = join(clone, `docker/.secrets-${name}`)
    const mode = existsSync(passwords) ? statSync(passwords).mode & 0o777 : 0
    return must(
      [...good(outcome), ...(outcome.isGood ? await runs(first) : []), ...(mode === 0o700 ? [] : ['its passwords are not in it'])],
      'a customer is served',
    )
  })
  await check('another release replaces it', async () => {
    const faults = [...good(await job('images', second)), ...good(await job('deploy', second))]
    return must(faults.length > 0 ? faults : await runs(second), second.slice(0, 12))
  })
  await check('a release that does not start goes back, and the workflow fails', async () => {
    await using image = imageWith('catalog-api', 'CMD ["node", "-e", "setTimeout(() => process.exit(1), 1500)"]')
    await pushAgain(registry.address, second, broken, { 'catalog-api': image.name }, place('runner-docker'))
    const outcome = await job('deploy', broken)
    return must(
      [...ends(outcome, 'Deploy there', ['catalog-api', 'rollback']), ...(await runs(second, ['catalog-api']))],
      'catalog-api runs what it ran before',
    )
  })
  await check('no key or token is shown, and none is left', () => {
    const body = host.key.split('\n').slice(1, -2)
    const all = said.join('\n')
    return must(
      [
        ...([registry.password, ...body].some((each) => all.includes(each)) ? ['one is among what the steps said'] : []),
        ...readdirSync(place('temp')).map((each) => `${each} is left on the runner`),
      ],
      `${said.length} jobs`,
    )
  })
  await opened.disposeAsync()
  await check('nothing is left of it', () => leavesNothing(name))
}

/** How this machine finds programs and trusts registries; whoever signs in has none of the caller's environment. */
function reaching(): Readonly<Record<string, string>> {
  const named = /^(PATH|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|GIT_SSL_\w+|(https?|no)_proxy|npm_config_(registry|cafile))$/i
  return Object.fromEntries(Object.entries(process.env).flatMap(([name, text]) => (named.test(name) && text ? [[name, text]] : [])))
}

/** The images of a release under the name of another, but for those that are given. */
async function pushAgain(
  address: string,
  from: string,
  to: string,
  others: Readonly<Record<string, string>>,
  config: string,
): Promise<void> {
  const names = (await docker(['images', '--format', '{{.Repository}}:{{.Tag}}', '--filter', `reference=${address}/*/*/*:${from}`]))
    .trim()
    .split('\n')
  for (const name of names) {
    const tag = `${name.slice(0, name.lastIndexOf(':'))}:${to}`
    await docker(['tag', others[name.slice(name.lastIndexOf('/') + 1, name.lastIndexOf(':'))] ?? name, tag])
    await docker(['push', '--quiet', tag], { DOCKER_CONFIG: config })
  }
}

async function removeImages(address: string): Promise<void> {
  const ids = (await docker(['images', '--format', '{{.Repository}}:{{.Tag}}', '--filter', `reference=${address}/*/*/*`]))
    .split('\n')
    .filter(Boolean)
  if (ids.length > 0) await docker(['rmi', '--force', ...ids])
}
