import { arch, cpus, release, totalmem, type } from 'node:os'

/** What was measured for one variant: every value, and their median. */
export interface Row {
  readonly variant: string
  readonly metric: string
  readonly unit: string
  readonly values: readonly number[]
  readonly median: number
}

/** A target that gates: an invariant, or a ratio of 2 and more. */
export interface Check {
  readonly name: string
  readonly target: string
  readonly measured: string
  readonly holds: boolean
}

export interface Report {
  readonly question: string
  readonly title: string
  /** The day, as 2026-01-31, and the commit that was measured. */
  readonly measured: { readonly on: string; readonly at: string }
  readonly machine: string
  readonly versions: Readonly<Record<string, string>>
  readonly rows: readonly Row[]
  readonly checks: readonly Check[]
}

/** A file of `questions/` exports one as its default. */
export interface Question {
  /** What it answers, in one line. */
  readonly title: string
  measure(options: { quick: boolean; onProgress(line: string): void }): Promise<Pick<Report, 'versions' | 'rows' | 'checks'>>
}

export function row(variant: string, metric: string, unit: string, values: readonly number[]): Row {
  return { variant, metric, unit, values, median: median(values) }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function machine(): string {
  const [cpu] = cpus()
  return `${cpus().length} × ${cpu?.model.trim() ?? arch()}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}`
}

export const number = (value: number): string => value.toLocaleString('en', { maximumSignificantDigits: 4 })

export function print(report: Report): void {
  console.log(`\n${report.question} on ${report.machine}`)
  console.log(
    Object.entries(report.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  )
  for (const { variant, metric, unit, values, median: middle } of report.rows) {
    console.log(
      `  ${variant.padEnd(24)} ${metric.padEnd(28)} ${number(middle).padStart(10)} ${unit.padEnd(10)} [${values.map(number).join(', ')}]`,
    )
  }
  for (const { name, target, measured, holds } of report.checks) {
    console.log(`  ${holds ? ' ok ' : 'FAIL'} ${name}: ${measured} (target ${target})`)
  }
}
