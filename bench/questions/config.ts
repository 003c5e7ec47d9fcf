import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Check, median, type Question, type Row, row } from '../report.ts'

const script = resolve(import.meta.dirname, '../variants/config.ts')
const measures = {
  reads: ['ours', 'ours, changed and pinned', 'convict', 'node-config', '@nestjs/config'],
  reloads: ['ours', 'convict'],
  starts: ['ours', 'zod alone', 'convict'],
  sizes: ['5,000', '20,000'],
  evaluations: ['flagd-core direct', 'our provider', 'through OpenFeature'],
  changes: ['file, 4 instances'],
} as const
const names = {
  reads: ['reading a leaf', 'ns', 1],
  reloads: ['reload of 1,000', 'ms', 1e6],
  starts: ['start with 200', 'ms', 1e6],
  sizes: ['start with so many', 'ms', 1e6],
  evaluations: ['fractional flag', 'µs', 1e3],
  changes: ['change p99', 'ms', 1e6],
} as const

const question: Question = {
  title: 'What does it cost to read a setting, to reload a thousand, to start, and to evaluate a flag?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 1 : 7
    const values = new Map<string, number[]>()
    for (let round = 0; round < rounds; round++) {
      for (const [measure, variants] of Object.entries(measures)) {
        for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
          const { stdout } = await promisify(execFile)(process.execPath, [script, measure, variant])
          const key = `${measure} ${variant}`
          values.set(key, [...(values.get(key) ?? []), (JSON.parse(stdout) as { ns: number }).ns])
        }
      }
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const of = (measure: string, variant: string) => values.get(`${measure} ${variant}`)!
    const rows: Row[] = Object.entries(measures).flatMap(([measure, variants]) => {
      const [name, unit, divisor] = names[measure as keyof typeof names]
      return variants.map((variant) =>
        row(
          variant,
          name,
          unit,
          of(measure, variant).map((ns) => ns / divisor),
        ),
      )
    })
    const ratio = (measure: string, peer: string) => median(of(measure, peer)) / median(of(measure, 'ours'))
    const check = (name: string, measured: number, target: number): Check => ({
      name,
      target: `at least ${target}x faster`,
      measured: `${measured.toFixed(1)}x`,
      holds: measured >= target,
    })
    const checks = [
      ...['convict', 'node-config', '@nestjs/config'].map((peer) => check(`reading a leaf, against ${peer}`, ratio('reads', peer), 20)),
      check('reload of 1,000 settings, against convict load and validate', ratio('reloads', 'convict'), 2),
      growth(median(of('sizes', '20,000')) / median(of('sizes', '5,000'))),
      {
        name: 'a changed file in every instance, p99',
        target: '< 1 s',
        measured: `${(median(of('changes', 'file, 4 instances')) / 1e6).toFixed(0)} ms`,
        holds: median(of('changes', 'file, 4 instances')) < 1e9,
      },
    ]
    return { versions: versions(), rows, checks }
  },
}

function growth(measured: number): Check {
  return {
    name: 'start with 20,000 settings, against 5,000',
    target: 'at most 5x',
    measured: `${measured.toFixed(1)}x`,
    holds: measured <= 5,
  }
}

function versions(): Record<string, string> {
  const { resolve: find } = createRequire(script)
  const version = (name: string) => {
    const file = find(name).replace(new RegExp(`(node_modules/${name})/.*`), '$1/package.json')
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
  }
  const peers = ['convict', 'config', '@nestjs/config', '@openfeature/flagd-core', '@openfeature/server-sdk']
  return { node: process.versions.node, ...Object.fromEntries(peers.map((name) => [name, version(name)])) }
}

export default question
