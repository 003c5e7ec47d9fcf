import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Check, median, type Question, row } from '../report.ts'

const program = resolve(import.meta.dirname, '../variants/logger.ts')
const modules = resolve(import.meta.dirname, '../node_modules')
const names = ['ours', 'ours, ECS', 'pino, nothing hidden', 'pino, redact', 'winston', 'LogTape']
const modes = { write: 'CPU per line to /dev/null', compose: 'CPU per line, composed only' }

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version

const question: Question = {
  title: 'What does a line of ten fields cost, four of which must not show, beside pino, winston and LogTape?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 3 : 5
    const variants = names.flatMap((name) => Object.keys(modes).map((mode) => ({ name, mode, values: [] as number[] })))
    for (let round = 0; round < rounds; round++) {
      for (const { name, mode, values } of round % 2 === 0 ? variants : variants.toReversed()) {
        const args = [program, name, mode, ...(quick ? ['quick'] : [])]
        const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 })
        values.push((JSON.parse(stdout) as { cpuUs: number }).cpuUs)
      }
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const cost = (name: string, mode: keyof typeof modes): number =>
      median(variants.find((each) => each.name === name && each.mode === mode)!.values)
    const ahead = (peer: string, factor: number): Check => {
      const ratio = cost(peer, 'write') / cost('ours', 'write')
      return { name: `ours beside ${peer}`, target: `${factor}x as fast`, measured: `${ratio.toFixed(2)}x`, holds: ratio >= factor }
    }
    return {
      versions: {
        node: process.versions.node,
        ...Object.fromEntries(['pino', 'winston', '@logtape/logtape'].map((name) => [name, version(name)])),
      },
      rows: variants.map(({ name, mode, values }) => row(name, modes[mode as keyof typeof modes], 'µs', values)),
      checks: [ahead('pino, redact', 2), ahead('LogTape', 1.5), ahead('winston', 1)],
    }
  },
}

export default question
