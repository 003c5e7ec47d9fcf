/** `pnpm bench` lists the questions; `pnpm bench <question> [--json FILE] [--quick]` answers one and exits 1 when a check does not hold. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, globSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { machine, print, type Question, type Report } from './report.ts'

const usage = 'Usage: pnpm bench [<question> [--quick] [--json FILE]]; without a question it lists them.'
const root = resolve(import.meta.dirname, '..')
const files = globSync('questions/*.ts', { cwd: import.meta.dirname }).toSorted()
const nameOf = (file: string) => basename(file, '.ts')
const load = async (file: string) => ((await import(join(import.meta.dirname, file))) as { default: Question }).default

/** What is measured is what is built: variants run without the condition that finds the sources. */
async function build(): Promise<number> {
  const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' }
  const child = spawn(join(root, 'node_modules/.bin/turbo'), ['run', 'build', '--output-logs=errors-only'], {
    cwd: root,
    env,
    stdio: 'inherit',
  })
  return new Promise((ended, failed) => child.once('error', failed).once('exit', (code) => ended(code ?? 1)))
}

function commit(): string {
  return spawnSync('git', ['describe', '--always', '--dirty', '--exclude', '*'], { cwd: root, encoding: 'utf8' }).stdout.trim()
}

/** Asked before the minutes of measuring. A report that stands there stays until there is a new one. */
function whyNotWritable(file: string): string | undefined {
  const stood = existsSync(file)
  try {
    closeSync(openSync(file, 'a'))
    if (!stood) rmSync(file)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

async function answer(file: string, { quick, json }: { quick: boolean; json: string | undefined }): Promise<number> {
  const fault = json && whyNotWritable(json)
  if (fault) {
    console.error(`--json cannot be written: ${fault}`)
    return 2
  }
  const built = await build()
  if (built !== 0) return built
  const { title, measure } = await load(file)
  const measured = { on: new Date().toISOString().slice(0, 10), at: commit() }
  const found = await measure({ quick, onProgress: (line) => console.log(line) })
  const report: Report = { question: nameOf(file), title, measured, machine: machine(), ...found }
  print(report)
  if (json) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  return report.checks.every((check) => check.holds) ? 0 : 1
}

function readOptions() {
  const options = { json: { type: 'string' }, quick: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } } as const
  return parseArgs({ allowPositionals: true, options })
}

async function main(): Promise<number> {
  let read: ReturnType<typeof readOptions>
  try {
    read = readOptions()
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`)
    return 2
  }
  const { values, positionals } = read
  if (values.help) {
    console.log(usage)
    return 0
  }
  const [name, ...more] = positionals
  if (name === undefined) {
    for (const each of files) console.log(`${nameOf(each).padEnd(16)} ${(await load(each)).title}`)
    return 0
  }
  const file = files.find((each) => nameOf(each) === name)
  if (file !== undefined && more.length === 0) return answer(file, { quick: values.quick, json: values.json })
  console.error(
    file ? `One question at a time, not "${more.join(' ')}" as well.` : `There is no question "${name}"; \`pnpm bench\` lists them.`,
  )
  return 2
}

process.exitCode = await main()
