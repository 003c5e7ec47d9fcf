import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { packageFolder } from './project.ts'

/** What Node takes to run `pnpm infra …` as it stands in the sources. */
export const infraArgs = (args: readonly string[]): string[] => [
  '--conditions=@platform/source',
  join(packageFolder, 'src/infra.ts'),
  ...args,
]

/**
 * Runs it in a process of its own; resolves with what it said, rejects with that when it fails. An abort ends it and waits until it has ended,
 * so that nothing is started behind the clean-up.
 */
export async function infra(args: readonly string[], env: NodeJS.ProcessEnv = {}, signal?: AbortSignal): Promise<string> {
  signal?.throwIfAborted()
  const child = spawn(process.execPath, infraArgs(args), { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const stop = () => child.kill('SIGTERM')
  signal?.addEventListener('abort', stop)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text))
  const code = await new Promise<number | null>((ended, failed) => child.once('error', failed).once('close', ended))
  signal?.removeEventListener('abort', stop)
  signal?.throwIfAborted()
  if (code !== 0) throw new Error(said.trim())
  return said
}
