import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type ComposeProject, docker } from '@platform/stack/compose'
import { deploy } from './deploy.ts'
import { checkRelease } from './image-names.ts'
import { holdStore } from './one-at-a-time.ts'
import { writeSecrets } from './secrets.ts'
import { storeName } from './settings.ts'

export interface DeployCommand {
  readonly project: ComposeProject
  /** Folder of the passwords. */
  readonly secrets: string
  /** As they stand on the command line. */
  readonly values: { readonly stack: string; readonly version?: string; readonly registry?: string; readonly gateway?: string }
  readonly signal: AbortSignal
  readonly onProgress: (line: string) => void
}

/** `infra deploy`: what cannot end well is refused before anything is drawn or begun. */
export async function deployStack({ project, secrets, values, signal, onProgress }: DeployCommand): Promise<void> {
  const { version, registry, stack, gateway: gatewayVersion } = values
  if (version === undefined) throw new Error('--version says which images: a release is a tag of its own')
  checkRelease({ version, registry, gatewayVersion })
  if (!storeName.holds(stack)) throw new Error(`--stack '${stack}' must ${storeName.must}`)
  await using _held = await holdStore(`stack ${stack}`, 'infra deploy')
  const isThere = (await docker(['stack', 'ls', '--format', '{{.Name}}'])).split('\n').includes(stack)
  // They are drawn for a stack that is not there yet, never for one that runs: its servers keep those of their first start.
  if (isThere && !existsSync(join(secrets, 'complete'))) throw new Error(`the passwords of the stack ${stack} are not in ${secrets}`)
  await hasNodeForData()
  await runsOnce(stack)
  if (writeSecrets(secrets)) onProgress(`Passwords drawn into ${secrets}`)
  await deploy({ project, stack, version, registry, gatewayVersion, signal, onProgress })
}

/** Servers wait for it, however long. */
async function hasNodeForData(): Promise<void> {
  const nodes = (await docker(['node', 'ls', '--quiet'])).split('\n').filter(Boolean)
  const labels = await docker(['node', 'inspect', '--format', '{{index .Spec.Labels "film-store"}}', ...nodes])
  if (!labels.split('\n').includes('data'))
    throw new Error('no node may hold the data: docker node update --label-add film-store=data <node>, for one of `docker node ls`')
}

/** Compose and a stack give volumes the same names, and two PostgreSQL at once destroy what is in one. */
async function runsOnce(stack: string): Promise<void> {
  if ((await docker(['ps', '--quiet', '--filter', `label=com.docker.compose.project=${stack}`])).trim() !== '')
    throw new Error(
      `a store ${stack} runs here already, by Compose and on the same volumes: \`pnpm infra down\` ends it, --stack names another`,
    )
}
