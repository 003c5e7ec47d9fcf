import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ComposeProject, docker } from '@platform/stack/compose'

export const packageFolder: string = dirname(fileURLToPath(import.meta.resolve('@film-store/containers/package.json')))
export const dockerFolder: string = join(packageFolder, '../../docker')

/** `dev` adds hot reload; `inspect` publishes databases and probes on 127.0.0.1; `ha` leaves no server alone; `logs` gathers lines; with `tls` all parts
 * speak TLS. */
export type Override = 'dev' | 'inspect' | 'ha' | 'logs' | 'tls'
/** Those that change what a store is, in the order in which their files are read. */
export type Variant = Extract<Override, 'ha' | 'tls' | 'logs'>
export const variants: readonly Variant[] = ['ha', 'tls', 'logs']

/** `core` is the store, `metrics` what watches it, `grafana` its dashboard; `logs` what gathers lines and traces (with the override); `restore` runs once and only when
 * it is named. */
export type Profile = 'core' | 'metrics' | 'grafana' | 'logs' | 'restore'
export const allProfiles: readonly Profile[] = ['core', 'metrics', 'grafana']

export function filmStore(overrides: readonly Override[], env: NodeJS.ProcessEnv, profiles: readonly Profile[] = ['core']): ComposeProject {
  const files = ['compose.yml', ...overrides.map((name) => `compose.${name}.yml`)]
  // `docker/.env` has one reader, which is `loadSettings`.
  return { files: files.map((file) => join(dockerFolder, file)), profiles, env: { COMPOSE_DISABLE_ENV_FILE: '1', ...env } }
}

export const isPartOf = ({ files }: ComposeProject, override: Override): boolean =>
  files.some((file) => file.endsWith(`compose.${override}.yml`))

/** Its name, by which containers and volumes are found. */
export const projectName = (env: NodeJS.ProcessEnv = process.env): string => env['COMPOSE_PROJECT_NAME'] || 'film-store'

/** What the store that is there was started with: each container names the files that it is made of, ended ones as well. */
export async function startedWith(name: string): Promise<readonly Variant[]> {
  const [project, files] = ['project', 'project.config_files'].map((key) => `com.docker.compose.${key}`)
  // Without an engine there is no store; whoever needs one says so.
  return variantsOf(
    await docker(['ps', '--all', '--filter', `label=${project}=${name}`, '--format', `{{.Label "${files}"}}`]).catch(() => ''),
  )
}

/** Of the lists of files of all its containers. What came later is named by those alone that it has changed. */
export function variantsOf(files: string): readonly Variant[] {
  return variants.filter((variant) => files.includes(`/compose.${variant}.yml`))
}
