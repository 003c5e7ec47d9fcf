import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Check, type Question, type Row, row } from '../report.ts'

const variants = resolve(import.meta.dirname, '../variants')
const modules = resolve(import.meta.dirname, '../node_modules')
const execute = promisify(execFile)

const libraries = ['ours', '@godaddy/terminus', '@nestjs/terminus', 'lightship', 'close-with-grace']
const probed = ['ours', '@godaddy/terminus', '@nestjs/terminus']
/** Requests a second (0: all there can be), and how late the balancer hears. */
const cells = [
  { rate: 200, lagMs: 300 },
  { rate: 200, lagMs: 2_500 },
  { rate: 2, lagMs: 2_500 },
  { rate: 0, lagMs: 2_500 },
]
/** Each is told to go on this much longer than the balancer needs, where it can be told. */
const spareMs = 700

interface Deployment {
  readonly failed: number
  readonly replacements: readonly { readonly exitMs: number; readonly code: number | null }[]
}

async function deploy(library: string, { rate, lagMs }: (typeof cells)[number]): Promise<Deployment> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-service-'))
  const json = join(folder, 'proof.json')
  const options = ['--rate', rate, '--clients', 16, '--lag-ms', lagMs, '--grace-ms', 20_000, '--json', json].map(String)
  const instance = [process.execPath, join(variants, 'service.ts'), library, String(lagMs + spareMs)]
  try {
    // 1: something failed, which is what is measured.
    await execute(process.execPath, [join(modules, '@platform/service/dist/deploy-proof/cli.js'), ...options, '--', ...instance]).catch(
      () => {},
    )
    return JSON.parse(readFileSync(json, 'utf8')) as Deployment
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const question: Question = {
  title: 'What does a rolling replacement cost beside other libraries, how fast do probes answer, and how long does a start take?',
  async measure({ quick, onProgress }) {
    const rows: Row[] = []
    const checks: Check[] = []
    for (const cell of quick ? cells.slice(1, 2) : cells) {
      const where = `${cell.rate === 0 ? 'full load' : `${cell.rate}/s`}, lag ${cell.lagMs / 1_000} s`
      const deployments = await Promise.all(libraries.map((library) => deploy(library, cell)))
      for (const [index, { failed, replacements }] of deployments.entries()) {
        const library = libraries[index]!
        rows.push(row(library, `failed, ${where}`, 'requests', [failed]))
        rows.push(
          row(
            library,
            `exit, ${where}`,
            's',
            replacements.map(({ exitMs }) => exitMs / 1_000),
          ),
        )
      }
      const ours = deployments[0]!
      const isClean = ours.failed === 0 && ours.replacements.every(({ code }) => code === 0)
      checks.push({ name: `failed requests, ${where}`, target: '0, exit code 0', measured: String(ours.failed), holds: isClean })
      onProgress(where)
    }
    for (const library of probed) {
      const { stdout } = await execute(process.execPath, [join(variants, 'probes.ts'), library])
      const { p99Ms, unanswered } = JSON.parse(stdout) as { p99Ms: number; unanswered: number }
      rows.push(row(library, 'probe p99, one check hangs', 'ms', [p99Ms]))
      if (library !== 'ours') continue
      checks.push({
        name: 'probes answer with one hung check',
        target: 'all',
        measured: `${unanswered} unanswered`,
        holds: unanswered === 0,
      })
    }
    for (const count of [10, 100, 1_000]) {
      const startsMs: number[] = []
      for (let round = 0; round < (quick ? 1 : 5); round++) {
        const { stdout } = await execute(process.execPath, [join(variants, 'service-start.ts'), String(count)])
        startsMs.push((JSON.parse(stdout) as { startMs: number }).startMs)
      }
      rows.push(row('ours', `start of ${count} components`, 'ms', startsMs))
    }
    return { versions: versions(), rows, checks }
  },
}

function versions(): Record<string, string> {
  const versionOf = (name: string): string =>
    (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version
  return { node: process.versions.node, ...Object.fromEntries(libraries.slice(1).map((name) => [name, versionOf(name)])) }
}

export default question
