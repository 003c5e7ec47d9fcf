import type { Proof, Replacement } from './prove.ts'

/** What was seen, as text for a terminal. */
export function reportOf({ tally, failed, replacements, holds }: Proof): string {
  const rows = replacements.map((one, index) => [
    `${index + 1}`,
    `${one.failed}`,
    seconds(one.heardMs),
    seconds(one.openMs),
    seconds(one.exitMs),
    one.signal ?? String(one.code),
    one.phases.map(({ name, durationMs }) => `${name} ${seconds(durationMs)}`).join(', ') || '-',
  ])
  const lines = [
    ...table([['replaced', 'failed', 'balancer heard', 'listener open', 'exit', 'code', 'phases'], ...rows]),
    '',
    `${tally.answered} requests answered, p99 ${quantile(tally.latenciesMs, 0.99).toFixed(0)} ms; ${failed} failed`,
    ...[...tally.failures].map(([problem, count]) => `  ${count} × ${problem}`),
    ...hints(replacements, failed),
    holds ? 'proven: no request failed, every instance ended with 0' : 'NOT proven',
  ]
  return `${lines.join('\n')}\n`
}

function hints(replacements: readonly Replacement[], failed: number): string[] {
  const early = replacements.filter(({ openMs, heardMs }) => openMs < heardMs).length
  const killed = replacements.filter(({ signal }) => signal === 'SIGKILL').length
  return [
    ...(failed > 0 && early > 0 ? [`  ${early} closed their listener before the balancer heard: let minDrainMs exceed its lag`] : []),
    ...(killed > 0 ? [`  ${killed} outlived the grace period and were killed`] : []),
  ]
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
