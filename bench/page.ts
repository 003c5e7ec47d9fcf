/** Prints the page of what was measured, `docs/benchmarks.md`, from the reports in `results/`. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { number, type Report, type Row } from './report.ts'

const folder = join(import.meta.dirname, 'results')

const head = `# Measured beside peers

Each table is one run of \`pnpm bench <question>\`, on a machine that had hardly anything else to do: a fresh process for every variant, taken in turns, the order reversed each round. A cell is the median of all rounds (lowest to highest in parentheses, where there was more than one); every single value is in [bench/results](../bench/results). The rows that we lose stand here as well.

Your machine gives other figures; the proportions are what carries over. This page is written from the results by \`node scripts/check-generated.ts --write\`.
`

function page(): string {
  const reports = readdirSync(folder)
    .toSorted()
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Report)
  return [head, ...reports.map(section)].join('\n')
}

function section({ question, title, measured, machine, versions, rows, checks }: Report): string {
  const variants = [...new Set(rows.map((row) => row.variant))]
  const metrics = [...new Set(rows.map(named))]
  const cell = (metric: string, variant: string) => {
    const found = rows.find((row) => named(row) === metric && row.variant === variant)
    return found ? told(found) : ''
  }
  const [across, down] = metrics.length < variants.length ? [metrics, variants] : [variants, metrics]
  const figures = down.map((one) => [one, ...across.map((other) => (down === metrics ? cell(one, other) : cell(other, one)))])
  return [
    `## ${question}`,
    '',
    title,
    '',
    table(['', ...across], figures),
    '',
    table(
      ['target', '', 'measured', ''],
      checks.map((check) => [check.name, check.target, check.measured, check.holds ? 'holds' : '**missed**']),
    ),
    '',
    `${measured.on}, commit ${measured.at}, ${machine}; ${Object.entries(versions)
      .map((pair) => pair.join(' '))
      .join(', ')}.`,
    '',
  ].join('\n')
}

const named = ({ metric, unit }: Row): string => `${metric}, ${unit}`

function told({ median, values }: Row): string {
  const [lowest, highest] = [Math.min(...values), Math.max(...values)]
  return values.length === 1 ? number(median) : `${number(median)} (${number(lowest)}–${number(highest)})`
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n')
}

process.stdout.write(page())
