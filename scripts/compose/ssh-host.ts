import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../../packages/stack/src/index.ts'
import { sshd } from './deploy-needs.ts'

/** A host that one signs in to: a server of its own on 127.0.0.1, with keys of its own. The machine's settings stay as they are. */
export interface SshHost extends AsyncDisposable {
  /** `ssh://user@127.0.0.1:port`. */
  readonly target: string
  /** The private key that it lets in. */
  readonly key: string
  /** What `ssh-keyscan` tells of it. */
  readonly knownHosts: string
  /** The same line with the key of somebody else. */
  readonly strangersLine: string
}

const startsWithinMs = 15_000
/** Of the package, for a server that root starts: it is empty, and the system's own makes it at its start. */
const separated = '/run/sshd'

/** Whoever signs in finds these variables. */
export async function startSshHost(folder: string, variables: Readonly<Record<string, string>>): Promise<SshHost> {
  const port = await freePort()
  const keyPair = (name: string) => {
    const file = join(folder, name)
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file])
    return { key: readFileSync(file, 'utf8'), line: readFileSync(`${file}.pub`, 'utf8'), file }
  }
  const [host, stranger, deployer] = [keyPair('host'), keyPair('stranger'), keyPair('deployer')]
  const authorized = join(folder, 'authorized_keys')
  writeFileSync(authorized, deployer.line, { mode: 0o600 })
  const config = join(folder, 'sshd_config')
  const settings = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${host.file}`,
    `AuthorizedKeysFile ${authorized}`,
    'AuthenticationMethods publickey',
    'PermitRootLogin prohibit-password',
    // The folder is below one that everybody may write into.
    'StrictModes no',
    'UsePAM no',
    'PidFile none',
    `SetEnv ${Object.entries(variables)
      .map(([name, text]) => `"${name}=${text}"`)
      .join(' ')}`,
  ]
  writeFileSync(config, `${settings.join('\n')}\n`)

  await using opened = new AsyncDisposableStack()
  if (process.getuid?.() === 0 && !existsSync(separated)) {
    mkdirSync(separated, { mode: 0o755 })
    opened.defer(() => rmdirSync(separated))
  }
  // It starts itself anew for each connection, by its whole path.
  const server = spawn(sshd()!, ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  server.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const over = once(server, 'exit')
  opened.defer(async () => {
    server.kill()
    await over
  })

  const giveUpAt = performance.now() + startsWithinMs
  const scan = () => {
    try {
      return execFileSync('ssh-keyscan', ['-p', String(port), '-t', 'ed25519', '127.0.0.1'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
    } catch {
      return ''
    }
  }
  let knownHosts = scan()
  while (knownHosts === '') {
    if (server.exitCode !== null || performance.now() > giveUpAt) throw new Error(`the SSH server does not answer: ${said.trim()}`)
    await pause(100)
    knownHosts = scan()
  }
  const kept = opened.move()
  return {
    target: `ssh://${userInfo().username}@127.0.0.1:${port}`,
    key: deployer.key,
    knownHosts,
    strangersLine: `[127.0.0.1]:${port} ${stranger.line}`,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}
