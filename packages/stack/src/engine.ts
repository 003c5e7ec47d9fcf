import { execFile } from 'node:child_process'
import { StackError } from './errors.ts'
import { findExecutable } from './locate.ts'
import type { ResolvedStartOptions } from './options.ts'
import { serverEnvironment } from './supervision.ts'

/** The client of this machine's container engine. */
export interface Engine {
  command: string
  env: Record<string, string>
}

export interface Image {
  engine: Engine
  name: string
}

const answerTimeoutMs = 10_000
const pullTimeoutMs = 600_000
/** What tells the client where the engine is and who asks. */
const clientVariables = [
  'HOME',
  'XDG_RUNTIME_DIR',
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CONFIG',
  'DOCKER_CERT_PATH',
  'DOCKER_TLS_VERIFY',
]

/** Undefined when there is none or it does not answer. */
export async function findEngine(signal?: AbortSignal): Promise<Engine | undefined> {
  const command = findExecutable('docker')
  if (!command) return undefined
  const given = clientVariables.flatMap((name) => (process.env[name] ? [[name, process.env[name]] as [string, string]] : []))
  const engine = { command, env: { ...serverEnvironment(), ...Object.fromEntries(given) } }
  const { problem } = await ask(engine, ['version', '--format', '{{.Server.Version}}'], answerTimeoutMs, signal)
  return problem === undefined ? engine : undefined
}

export async function hasImage(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<boolean> {
  return (await ask(engine, ['image', 'inspect', '--format', '{{.Id}}', name], answerTimeoutMs, signal)).problem === undefined
}

/** `ERR_STACK_INSTALL` says what the engine said. */
export async function pullImage(engine: Engine, name: string, { signal, onProgress }: ResolvedStartOptions): Promise<Image> {
  onProgress(`pulling ${name}`)
  const { problem } = await ask(engine, ['pull', '--quiet', name], pullTimeoutMs, signal)
  if (problem !== undefined) throw new StackError('ERR_STACK_INSTALL', `pulling ${name} failed: ${problem}`)
  return { engine, name }
}

/** Rejects only with the reason of `signal`. */
function ask({ command, env }: Engine, args: string[], timeout: number, signal?: AbortSignal): Promise<{ problem?: string }> {
  signal?.throwIfAborted()
  return new Promise((resolve, reject) => {
    execFile(command, args, { env, timeout, signal, cwd: '/' }, (error, _out, said) => {
      if (signal?.aborted) reject(signal.reason as Error)
      else resolve(error ? { problem: said.trim() || error.message } : {})
    })
  })
}
