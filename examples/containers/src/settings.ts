import { existsSync, readFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { isAbsolute } from 'node:path'
import { parseEnv } from 'node:util'

interface Setting {
  readonly otherwise?: string
  /** What it must be, for whoever gave something else; without it any text will do. */
  readonly must?: string
  readonly holds?: (text: string) => boolean
}

const isNumber = (from: number, to: number) => (text: string) => /^\d{1,5}$/.test(text) && Number(text) >= from && Number(text) <= to
const port = (otherwise: string): Setting => ({ otherwise, must: 'be a port, 1 to 65535', holds: isNumber(1, 65_535) })
const inspected: Setting = { otherwise: '0', must: 'be a port, 1 to 65535, or 0 for one that is drawn', holds: isNumber(0, 65_535) }
export const storeName: Setting & Required<Pick<Setting, 'must' | 'holds'>> = {
  must: 'have lower-case letters, digits, - and _ alone, and begin with one of the first two',
  holds: (text) => /^[a-z\d][a-z\d_-]*$/.test(text),
}

/** What an operator may set for a store, in the environment or in `docker/.env`. An empty text is none. */
export const settings: Readonly<Record<string, Setting>> = {
  COMPOSE_PROJECT_NAME: { otherwise: 'film-store', ...storeName },
  FILM_STORE_ADDRESS: { otherwise: '127.0.0.1', must: 'be an IPv4 address of this machine, or 0.0.0.0', holds: isIPv4 },
  FILM_STORE_PORT: port('8080'),
  FILM_STORE_PROMETHEUS_PORT: port('9090'),
  FILM_STORE_ALERTMANAGER_PORT: port('9093'),
  FILM_STORE_GRAFANA_PORT: port('3000'),
  FILM_STORE_KIBANA_PORT: port('5601'),
  FILM_STORE_JAEGER_PORT: port('16686'),
  ...Object.fromEntries(
    ['POSTGRES', 'RABBITMQ', 'CONSUL', 'CATALOG_1', 'CATALOG_2', 'ORDERS_1', 'ORDERS_2', 'FULFILMENT', 'IDENTITY', 'GATEWAY'].map(
      (part) => [`FILM_STORE_${part}_PORT`, inspected],
    ),
  ),
  // Compose would take a relative one for the name of a volume, and a colon for the end of it.
  FILM_STORE_BACKUPS: { must: 'be an absolute path without a colon', holds: (text) => isAbsolute(text) && !text.includes(':') },
  FILM_STORE_SECRETS: {},
  FILM_STORE_WATCH: { must: 'be an absolute path without a colon', holds: (text) => isAbsolute(text) && !text.includes(':') },
  FILM_STORE_CERTIFICATE_DAYS: { otherwise: '30', must: 'be a number of days, 1 to 825', holds: isNumber(1, 825) },
  FILM_STORE_NAMES: {},
  FILM_STORE_RELEASE: {},
  FILM_STORE_USER: {},
}

/** What is set, or what holds otherwise. */
export const setting = (name: string, env: NodeJS.ProcessEnv = process.env): string => env[name] || (settings[name]!.otherwise ?? '')

/** Adds what the file sets (`docker/.env`) and the environment does not, and throws about each that cannot be, or that nobody knows. */
export function loadSettings(file: string, env: NodeJS.ProcessEnv = process.env): void {
  if (existsSync(file)) for (const [name, text] of Object.entries(parseEnv(readFileSync(file, 'utf8')))) env[name] ??= text ?? ''
  const faults = Object.entries(env).flatMap(([name, text]) => {
    const known = Object.hasOwn(settings, name) ? settings[name] : undefined
    if (known === undefined) return name.startsWith('FILM_STORE_') ? [`there is no setting ${name}`] : []
    return !text || known.holds === undefined || known.holds(text) ? [] : [`${name} is '${text}' and must ${known.must}`]
  })
  if (faults.length > 0) throw new Error(faults.join('; '))
}

/** Of the sources, whichever store is made of them. */
const ofTheSources = 'FILM_STORE_RELEASE'

/** The environment of a store of its own: without anything that is set for the one that people use, the folder of its backups above all. */
export function ownStore<T extends Readonly<Record<string, string>>>(own: T): Readonly<Record<string, string>> & T {
  return { ...Object.fromEntries(Object.keys(settings).flatMap((name) => (name === ofTheSources ? [] : [[name, '']]))), ...own }
}
