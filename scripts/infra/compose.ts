import { execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { root } from '../pinned-node.ts'

export const dockerFolder: string = join(root, 'docker')

export interface Project {
  /** `dev` adds hot reload; `inspect` publishes databases and probes on 127.0.0.1. */
  readonly overrides: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

/** One container, as `docker compose ps` tells it. */
export interface Container {
  readonly Service: string
  readonly Name: string
  readonly State: string
  readonly Health: string
  readonly ExitCode: number
}

export function composeArgs(overrides: readonly string[], args: readonly string[]): string[] {
  const files = ['compose.yml', ...overrides.map((name) => `compose.${name}.yml`)]
  return ['compose', '--ansi=never', ...files.flatMap((file) => ['--file', join(dockerFolder, file)]), '--profile', 'core', ...args]
}

/** Runs `docker …` and returns what it printed. */
export async function docker(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await promisify(execFile)('docker', [...args], { env: { ...process.env, ...env }, maxBuffer: 64e6 })
  return stdout
}

export function compose({ overrides, env }: Project, ...args: string[]): Promise<string> {
  return docker(composeArgs(overrides, args), env)
}

/** The same with its output in view; resolves with the exit code. */
export function composeInView({ overrides, env }: Project, ...args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('docker', composeArgs(overrides, args), { stdio: 'inherit', env: { ...process.env, ...env } })
    // Whoever ends this process waits for what it has begun.
    const pass = () => child.kill('SIGTERM')
    process.on('SIGTERM', pass).on('SIGINT', pass)
    child.on('error', reject)
    child.on('exit', (code) => {
      process.off('SIGTERM', pass).off('SIGINT', pass)
      resolve(code ?? 1)
    })
  })
}

export async function containers(project: Project): Promise<Container[]> {
  const lines = await compose(project, 'ps', '--all', '--format', 'json')
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Container)
    .toSorted((a, b) => a.Service.localeCompare(b.Service))
}

/** True for a container that does what it is there for. */
export function isWell({ State, Health, ExitCode }: Container): boolean {
  return State === 'running' ? Health === 'healthy' : State === 'exited' && ExitCode === 0
}
