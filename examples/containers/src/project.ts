import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ComposeProject } from '@platform/stack/compose'

export const packageFolder: string = dirname(fileURLToPath(import.meta.resolve('@film-store/containers/package.json')))
export const dockerFolder: string = join(packageFolder, '../../docker')

/** `dev` adds hot reload; `inspect` publishes databases and probes on 127.0.0.1; `ha` leaves no server alone; `logs` gathers lines; with `tls` all parts
 * speak TLS. */
export type Override = 'dev' | 'inspect' | 'ha' | 'logs' | 'tls'

/** `core` is the store, `metrics` what watches it, `grafana` its dashboard; `logs` what gathers lines and traces (with the override); `restore` runs once and only when
 * it is named. */
export type Profile = 'core' | 'metrics' | 'grafana' | 'logs' | 'restore'
export const allProfiles: readonly Profile[] = ['core', 'metrics', 'grafana']

export function filmStore(overrides: readonly Override[], env: NodeJS.ProcessEnv, profiles: readonly Profile[] = ['core']): ComposeProject {
  const files = ['compose.yml', ...overrides.map((name) => `compose.${name}.yml`)]
  return { files: files.map((file) => join(dockerFolder, file)), profiles, env }
}
