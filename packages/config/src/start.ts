import { jittered, pause, withDeadline } from '@platform/kernel'
import { ConfigError } from './errors.ts'
import type { SchemaMap } from './fields.ts'
import type { LastKnownGood } from './last-known-good.ts'
import type { ResolvedLoadOptions } from './options.ts'
import { type Reading, readSources } from './reading.ts'

export interface Start {
  readonly readings: readonly Reading[]
  /** Sources that are answered from the local copy. */
  readonly stale: readonly string[]
  readonly copyAgeMs: number
}

const isOut = (reading: Reading): boolean => reading.source.remote === true && reading.failure !== undefined

/** Reads everything; remote sources that give nothing are asked again until `retryMs` are over, then their local copy is taken. */
export async function readAtStart(
  map: SchemaMap,
  options: ResolvedLoadOptions,
  copy: LastKnownGood | undefined,
  signal: AbortSignal | undefined,
): Promise<Start> {
  const { sources, readTimeoutMs, retryMs } = options
  const startedAt = performance.now()
  let readings: Reading[] = await readSources(sources, map, { signal, readTimeoutMs })
  for (let delayMs = 100; readings.some(isOut); delayMs = Math.min(delayMs * 2, 2_000)) {
    const leftMs = startedAt + retryMs - performance.now()
    if (leftMs <= 0 || readings.some(isFinal)) break
    await pause(Math.min(jittered(delayMs), leftMs), signal)
    const again = readings.filter(isOut).map(({ source }) => source)
    const answers = await readSources(again, map, { signal, readTimeoutMs: Math.min(readTimeoutMs, Math.max(1_000, Math.round(leftMs))) })
    readings = readings.map((reading) => answers.find(({ source }) => source === reading.source) ?? reading)
  }
  const out = readings.filter(isOut)
  if (out.length === 0 || copy === undefined) return { readings, stale: [], copyAgeMs: 0 }
  const noAnswer = (): Error => new Error('late')
  const found = await withDeadline(readTimeoutMs, noAnswer, () => copy.load(), signal).catch((error: unknown) => {
    signal?.throwIfAborted()
    return `the local copy could not be read${error instanceof Error ? ` within ${readTimeoutMs} ms` : ''}`
  })
  const fromCopy = (reading: Reading): Reading => {
    if (!isOut(reading)) return reading
    const layer = typeof found === 'string' ? undefined : found.layerOf(reading.source.name)
    if (layer) return { ...reading, layer, faults: [], warnings: reading.warnings, failure: undefined }
    const reason = typeof found === 'string' ? found : 'the local copy does not have it'
    return { ...reading, faults: reading.faults.map((fault) => ({ ...fault, hint: `${fault.hint}; ${reason}` })) }
  }
  readings = readings.map(fromCopy)
  return {
    readings,
    stale: out
      .map(({ source }) => source.name)
      .filter((name) => !readings.some((reading) => reading.source.name === name && isOut(reading))),
    copyAgeMs: typeof found === 'string' ? 0 : found.ageMs,
  }
}

/** A refusal stays one: waiting does not help, and the operator should see it at once. */
function isFinal({ source, failure }: Reading): boolean {
  const status = source.remote === true && ConfigError.isInstance(failure?.cause) ? failure.cause.status : undefined
  return status !== undefined && status >= 400 && status < 500 && ![404, 408, 429].includes(status)
}
