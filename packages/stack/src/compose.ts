import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'

/** A Compose project: `docker compose` with these files. */
export interface ComposeProject {
  readonly files: readonly string[]
  readonly profiles: readonly string[]
  /** Beside this process's own. */
  readonly env: NodeJS.ProcessEnv
}

/** One container, as `docker compose ps` tells it. */
export interface ComposeContainer {
  readonly ID: string
  readonly Service: string
  readonly Name: string
  readonly State: string
  readonly Health: string
  readonly ExitCode: number
  /** It is there to end: the engine starts it again never, or only when it failed. */
  readonly once: boolean
}

function composeArgs({ files, profiles }: ComposeProject, args: readonly string[]): string[] {
  const named = [...files.flatMap((file) => ['--file', file]), ...profiles.flatMap((profile) => ['--profile', profile])]
  return ['compose', '--ansi=never', ...named, ...args]
}

/** A command of docker that failed. Its message is what docker said about it, not the command: nobody typed that, and it may be long. */
export class DockerError extends Error {
  override readonly name = 'DockerError'
  /** The exit code; a text such as `ENOENT` when it was not started. */
  readonly code: number | string | undefined
  readonly stdout: string
  readonly stderr: string

  constructor(args: readonly string[], { code, stdout = '', stderr = '' }: { code?: number | string; stdout?: string; stderr?: string }) {
    // Of its two streams the one for words: the other may be what was asked for, such as a password.
    super(code === 'ENOENT' ? 'there is no docker command here' : stderr.trim() || `docker ${args[0]} ended with ${code ?? 'a signal'}`)
    this.code = code
    this.stdout = stdout
    this.stderr = stderr
  }
}

/** Runs `docker …` and returns what it printed; rejects with `DockerError`. */
export async function docker(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('docker', [...args], { env: { ...process.env, ...env }, maxBuffer: 256e6 })
    return stdout
  } catch (error) {
    // What it was called with stays out of it.
    throw new DockerError(args, error as { code?: number | string; stdout?: string; stderr?: string })
  }
}

/** Runs `docker compose …` and returns what it printed. */
export function compose(project: ComposeProject, ...args: string[]): Promise<string> {
  return docker(composeArgs(project, args), project.env)
}

/** The same with its output in view; resolves with the exit code. */
export function composeInView(project: ComposeProject, ...args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('docker', composeArgs(project, args), { stdio: 'inherit', env: { ...process.env, ...project.env } })
    // Whoever ends this process waits for what it has begun.
    const pass = () => child.kill('SIGTERM')
    process.on('SIGTERM', pass).on('SIGINT', pass).on('SIGHUP', pass)
    const over = () => process.off('SIGTERM', pass).off('SIGINT', pass).off('SIGHUP', pass)
    child.on('error', (error: NodeJS.ErrnoException) => {
      over()
      reject(new DockerError(['compose'], { ...(error.code !== undefined && { code: error.code }) }))
    })
    child.on('exit', (code) => {
      over()
      resolve(code ?? 1)
    })
  })
}

/** Every container of the project, ended ones as well, by service. */
export async function composeContainers(project: ComposeProject): Promise<ComposeContainer[]> {
  const lines = (await compose(project, 'ps', '--all', '--no-trunc', '--format', 'json')).split('\n').filter((line) => line !== '')
  const found = lines.map((line) => JSON.parse(line) as Omit<ComposeContainer, 'once'>)
  if (found.length === 0) return []
  const told = await docker(['inspect', '--format', '{{.Id}} {{.HostConfig.RestartPolicy.Name}}', ...found.map(({ ID }) => ID)])
  const policies = new Map(told.split('\n').map((line) => line.split(' ') as [id: string, policy: string]))
  return found
    .map((each) => ({ ...each, once: ['no', 'on-failure', ''].includes(policies.get(each.ID) ?? 'always') }))
    .toSorted((a, b) => a.Service.localeCompare(b.Service))
}

/** True for a container that does what it is there for: it runs and is healthy, as far as it can tell, or it has done its work. */
export function isWell({ State, Health, ExitCode, once }: Omit<ComposeContainer, 'ID'>): boolean {
  return State === 'running' ? Health === 'healthy' || Health === '' : once && State === 'exited' && ExitCode === 0
}
