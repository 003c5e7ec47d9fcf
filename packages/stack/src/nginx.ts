import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { pause } from '@platform/kernel'
import { unprivilegedAccount } from './account.ts'
import { asOnTheMachine } from './container-program.ts'
import { StackError } from './errors.ts'
import { launch } from './launch.ts'
import { nginxAt, nginxOrImage } from './nginx-program.ts'
import { askState, nginxText, stateSocket } from './nginx-text.ts'
import { resolveStartOptions, type StartOptions, wrong } from './options.ts'
import type { Plan, Site } from './plan.ts'
import type { Program } from './program.ts'
import type { Server } from './server.ts'

export interface NginxOptions extends StartOptions {
  /** What stands in `http { }`. `{{listen}}` becomes the address and port to listen on; other addresses are taken as they are. */
  config: string
  /** Path of the nginx to run. Default: as `findNginx` finds it, or a container. */
  program?: string | undefined
}

export interface NginxServer extends Server {
  /**
   * Checks `config` by `nginx -t` and takes it over without dropping a request; without it, reads the same again (certificates, files it
   * includes). Resolves when the new configuration answers; a connection accepted in that moment may still meet the old one. A refused one
   * rejects with `ERR_STACK_REFUSED`, and the old one goes on.
   */
  reload(config?: string): Promise<void>
}

const pollIntervalMs = 25

/** An nginx of one's own. It sees this machine's loopback interface in a container too, so its upstreams may be there. */
export async function startNginx(options: NginxOptions): Promise<NginxServer> {
  const resolved = resolveStartOptions(options, ['config', 'program'])
  checkConfig(options.config)
  const { programs, image } = options.program === undefined ? await nginxOrImage(resolved) : { programs: nginxAt(options.program) }
  const account = unprivilegedAccount()
  let config = options.config
  let generation = 1

  const program = (site: Site, args: string[]): Program => {
    const { folder, env } = site
    const own = { command: programs?.program ?? 'nginx', args: ['-p', folder, ...args], env, cwd: folder, account }
    return image ? asOnTheMachine(site, image, own) : own
  }
  const check = async (site: Site, text: string) => {
    const draft = site.write('draft.conf', nginxText(text, generation, site))
    try {
      await site.runToEnd(program(site, ['-t', '-c', draft]))
    } catch (cause) {
      throw new StackError('ERR_STACK_REFUSED', '`nginx -t` refused the configuration', { cause })
    }
  }
  const put = (site: Site) => site.write('nginx.conf', nginxText(config, generation, site))
  const plan: Plan = {
    name: 'nginx',
    origin: image ? `container (${image.name})` : programs.origin,
    account,
    stopSignal: 'SIGQUIT',
    partingMs: 500, // it waits for clients that keep their connections
    async prepare(site) {
      await check(site, config)
      put(site)
    },
    programs(site) {
      rmSync(stateSocket(site), { force: true }) // a killed one leaves it
      return [program(site, ['-c', join(site.folder, 'nginx.conf')])]
    },
    url: ({ port }) => `http://127.0.0.1:${port}`,
    probe: async (_url, site) => (await askState(site)).version,
  }
  const instance = await launch(plan, resolved)

  const takeOver = async (next: string, site: Site, signal: AbortSignal) => {
    await check(site, next)
    const before = config
    config = next
    generation++
    try {
      put(site)
      await instance.signal('SIGHUP')
      while ((await askState(site)).generation !== generation) await pause(pollIntervalMs, signal)
    } catch (error) {
      config = before
      put(site)
      throw error
    }
  }
  let last: Promise<void> = Promise.resolve()
  const takeTurn = async (before: Promise<void>, next: string) => {
    await before.catch(() => {})
    await instance.during((site, signal) => takeOver(next, site, signal))
  }
  return Object.assign(instance, {
    async reload(next: string = config): Promise<void> {
      checkConfig(next)
      last = takeTurn(last, next)
      return last
    },
  })
}

function checkConfig(config: unknown): void {
  if (typeof config !== 'string' || !config.includes('{{listen}}')) throw wrong('config', 'must be a text with {{listen}} in it')
}
