import type { Options } from 'tsup'

/** What every package builds the same way: one ES module and one bundled declaration per entry point. */
export function library(entry: Record<string, string>): Options {
  return { entry, format: 'esm', dts: true, sourcemap: true, clean: true, target: 'node22', platform: 'node' }
}

/** A program that is run, not imported: no declarations; workspace packages stay separate so that the demo runs what is published. */
export function program(entry: Record<string, string>): Options {
  return { ...library(entry), dts: false }
}
