/** `pnpm bench` lists the questions; `pnpm bench <question> [--json FILE] [--quick]` answers one and exits 1 when a check does not hold. */
import { globSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { machine, print, type Question, type Report } from '../bench/report.ts'
import { allowInstalls } from './allow-installs.ts'
import { bin, requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
allowInstalls()
const files = globSync('bench/questions/*.ts', { cwd: root }).toSorted()
const load = async (file: string) => ((await import(join(root, file))) as { default: Question }).default

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, quick: { type: 'boolean', default: false } },
})
const [name] = positionals
const file = files.find((each) => basename(each, '.ts') === name)

if (name === undefined) {
  for (const each of files) console.log(`${basename(each, '.ts').padEnd(16)} ${(await load(each)).title}`)
} else if (file === undefined) {
  console.error(`There is no question "${name}"; \`pnpm bench\` lists them.`)
  process.exitCode = 2
} else {
  process.exitCode = await answer(name, file)
}

async function answer(question: string, from: string): Promise<number> {
  const built = await run(bin('turbo'), ['run', 'build', '--output-logs=errors-only'], { TURBO_TELEMETRY_DISABLED: '1' })
  if (built !== 0) return built
  const measured = await (await load(from)).measure({ quick: values.quick, onProgress: (line) => console.log(line) })
  const report: Report = { question, machine: machine(), ...measured }
  print(report)
  if (values.json) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
  return report.checks.every((check) => check.holds) ? 0 : 1
}
