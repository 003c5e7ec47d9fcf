import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { allProfiles, filmStore, ownStore } from '@film-store/containers'
import { freePort } from '@platform/stack'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'

const image = 'film-store/postgres'

/** A machine, as far as the store is concerned: a folder with the passwords and the backups, and a project for the rest. */
export interface Site {
  readonly folder: string
  readonly project: ComposeProject
  readonly env: NodeJS.ProcessEnv
  readonly shopUrl: string
  readonly databases: Readonly<Record<'catalog' | 'orders' | 'fulfilment', string>>
}

/** With `ha` no server of it is alone. */
export async function layOut(
  folder: string,
  name: string,
  { ha = false }: { readonly ha?: boolean } = {},
): Promise<Omit<Site, 'databases'>> {
  const [shopPort, postgresPort] = [String(await freePort()), String(await freePort())]
  const env = ownStore({
    COMPOSE_PROJECT_NAME: `film-store-drill-${process.pid}-${name}`,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_BACKUPS: join(folder, 'backups'),
    FILM_STORE_PORT: shopPort,
    FILM_STORE_POSTGRES_PORT: postgresPort,
  })
  // The folder must belong to the user of the containers, whatever his number is here.
  await asRoot(['--volume', `${folder}:/site`], 'install --directory --owner=postgres --group=postgres /site/backups')
  const project = filmStore([...(ha ? (['ha'] as const) : []), 'inspect'], env, allProfiles)
  return { folder, env, project, shopUrl: `http://127.0.0.1:${shopPort}` }
}

export async function withDatabases(site: Omit<Site, 'databases'>): Promise<Site> {
  const database = async (name: string) => {
    const password = await readFile(join(site.folder, 'secrets', `${name}_db_password`), 'utf8')
    return `postgres://${name}:${password}@127.0.0.1:${site.env['FILM_STORE_POSTGRES_PORT']}/${name}`
  }
  return {
    ...site,
    databases: { catalog: await database('catalog'), orders: await database('orders'), fulfilment: await database('fulfilment') },
  }
}

export function asRoot(options: readonly string[], script: string): Promise<string> {
  return docker(['run', '--rm', '--network=none', '--user=0', ...options, '--entrypoint=sh', image, '-c', script])
}

/** Every container at once and without warning, then everything that they had kept. */
export async function destroy({ project }: Pick<Site, 'project'>): Promise<void> {
  await compose(project, 'kill')
  await compose(project, 'down', '--volumes', '--timeout', '0')
}
