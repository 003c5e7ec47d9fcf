import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { startBalancer } from './balancer.ts'
import { type Proof, type ProofOptions, proveDeployment } from './prove.ts'
import { quantile, reportOf } from './report.ts'

export const usage = `deploy-proof [options] -- <command> [arguments]

Starts a built service, replaces its instances one after the other under load, and says what failed.
An instance must listen on 127.0.0.1 (or all addresses), on the port that {{port}} in its arguments, or the variable PORT, says.

  --path PATH            what is asked (default /)
  --method METHOD        how (default GET)
  --ready-path PATH      an instance is ready when this answers with less than 500 (default: --path)
  --rate N               requests a second; 0: as many as --clients get answered (default 200)
  --clients N            for --rate 0 (default 32)
  --lag-ms N             the balancer hears of a stop this much later (default 2500)
  --grace-ms N           after that an instance is killed (default 30000)
  --start-ms N           an instance must be ready within this time (default 60000)
  --instances N          that serve at the same time (default 2)
  --replacements N       (default: as many as there are instances)
  --port-variable NAME   (default PORT)
  --json FILE            writes what was measured

Exit code: 0 no request failed and every instance ended with 0; 1 otherwise; 2 the call is wrong.
`

export interface Output {
  out(text: string): void
  err(text: string): void
}

const text = { type: 'string' } as const
const known = {
  path: text,
  method: text,
  'ready-path': text,
  rate: text,
  clients: text,
  'lag-ms': text,
  'grace-ms': text,
  'start-ms': text,
  instances: text,
  replacements: text,
  'port-variable': text,
  json: text,
  help: { type: 'boolean', short: 'h' },
} as const

type Values = { [name in Exclude<keyof typeof known, 'help'>]?: string } & { help?: boolean }

export async function main(argv: readonly string[], { out, err }: Output): Promise<number> {
  let options: ProofOptions
  let json: string | undefined
  try {
    const end = argv.indexOf('--')
    const own = end < 0 ? argv : argv.slice(0, end)
    const { values }: { values: Values } = parseArgs({ args: [...own], options: known })
    if (values.help) {
      out(usage)
      return 0
    }
    json = values.json
    options = optionsOf(values, end < 0 ? [] : argv.slice(end + 1), (line) => err(`${line}\n`))
  } catch (error) {
    err(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  const balancer = await startBalancer()
  try {
    const proof = await proveDeployment(balancer, options)
    out(reportOf(proof))
    if (json !== undefined) await writeFile(json, `${JSON.stringify(measuredOf(proof))}\n`)
    return proof.holds ? 0 : 1
  } catch (error) {
    err(`${(error as Error).message}\n`)
    return 1
  } finally {
    await balancer.close()
  }
}

function measuredOf({ tally, ...proof }: Proof): object {
  const { answered, failures, latenciesMs } = tally
  return {
    ...proof,
    answered,
    failures: Object.fromEntries(failures),
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
  }
}

function optionsOf(values: Values, command: readonly string[], onProgress: (line: string) => void): ProofOptions {
  if (command.length === 0) throw new Error('the command that starts an instance is missing: put it behind --')
  const number = (name: keyof Values, otherwise: number, min: number): number => {
    const given = values[name]
    const value = given === undefined ? otherwise : Number(given)
    if (Number.isInteger(value) && value >= min) return value
    throw new Error(`--${name} must be a whole number of at least ${min}`)
  }
  const { path = '/' } = values
  const instances = number('instances', 2, 1)
  return {
    launch: {
      command,
      portVariable: values['port-variable'] ?? 'PORT',
      readyPath: values['ready-path'] ?? path,
      startTimeoutMs: number('start-ms', 60_000, 1),
      gracePeriodMs: number('grace-ms', 30_000, 1),
    },
    load: { path, method: values.method ?? 'GET', rate: number('rate', 200, 0), clients: number('clients', 32, 1) },
    instances,
    replacements: number('replacements', instances, 1),
    lagMs: number('lag-ms', 2_500, 0),
    onProgress,
  }
}
