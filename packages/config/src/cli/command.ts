import type { SettingsModule } from './module.ts'

export interface Output {
  out(text: string): void
  err(text: string): void
}

export interface Options {
  environment?: string
  prefix?: string
  output?: string
  compare?: string
  allow?: string
  every?: string
  to?: string
  consul?: string
  note?: string
  'dry-run'?: boolean
}

/** Resolves to the exit code: 0 right, 1 something is wrong with the settings, 2 something is wrong with the call. */
export type Command = (module: SettingsModule, rest: readonly string[], options: Options, output: Output) => Promise<number>
