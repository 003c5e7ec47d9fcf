import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Config } from '../config.ts'
import type { ConfigDefinition } from '../define-config.ts'
import type { Rotation } from '../rotation/rotation.ts'
import type { Source } from '../source.ts'
import { args } from '../sources/args.ts'
import { dotenv } from '../sources/dotenv.ts'
import { env } from '../sources/env.ts'

type Environment = { environment: string | undefined }

export interface SettingsModule {
  readonly settings: ConfigDefinition<unknown>
  readonly prefix: string | undefined
  readonly sources: ((options: Environment) => readonly Source[]) | undefined
  readonly rotation: Rotation | undefined
  load(options: Environment): Promise<Config<unknown>>
}

/** Runs the module: Node strips types by itself, so it may be TypeScript. */
export async function loadModule(path: string, prefixOption: string | undefined): Promise<SettingsModule> {
  const found = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>
  const settings = [found['settings'], found['default']].find(isDefinition)
  const prefix = prefixOption ?? (typeof found['prefix'] === 'string' ? found['prefix'] : undefined)
  const sources = functionOf<SettingsModule['sources']>(found['sources'])
  const loadSettings = functionOf<SettingsModule['load']>(found['loadSettings'])
  const rotation = found['rotation'] as Rotation | undefined
  if (settings === undefined && rotation === undefined) throw new Error(`${path} exports neither "settings" nor "rotation"`)
  const definition = settings ?? (undefined as unknown as ConfigDefinition<unknown>)
  return {
    get settings() {
      if (settings === undefined) throw new Error(`${path} exports no "settings" of defineConfig`)
      return definition
    },
    prefix,
    sources,
    rotation,
    load(options) {
      if (loadSettings) return loadSettings(options)
      const usual = () => [
        dotenv('.env', prefix === undefined ? {} : { prefix }),
        ...(prefix === undefined ? [] : [env({ prefix })]),
        args(),
      ]
      return definition.load({ sources: sources ? sources(options) : usual() })
    },
  }
}

function isDefinition(value: unknown): value is ConfigDefinition<unknown> {
  return typeof value === 'object' && value !== null && 'fields' in value && 'load' in value && 'schema' in value
}

function functionOf<F>(value: unknown): F | undefined {
  return typeof value === 'function' ? (value as F) : undefined
}
