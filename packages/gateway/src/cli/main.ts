import { safeLogger } from '@platform/kernel'
import { existsSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { shutdownTimeoutMs } from '../compile/gateway-config.ts'
import { contractCases, runContract } from '../contract.ts'
import { askToApply } from '../control.ts'
import { difference } from '../difference.ts'
import { GatewayError } from '../errors.ts'
import type { GatewayFile } from '../gateway-file.ts'
import { NginxProcess } from '../nginx-process.ts'
import { readGatewayFile } from '../read-file.ts'
import { gatewayJsonSchema } from '../schema.ts'
import { runGatewayProgram } from './run.ts'

export interface Output {
  out(text: string): void
  err(text: string): void
}

const usage = `Usage:
  platform-gateway check FILE                       whatever is wrong with it, each with line and route
  platform-gateway diff FILE --folder FOLDER        what it would change in the gateway that runs there
  platform-gateway apply --folder FOLDER [--probation-ms N]
                                                    makes the running gateway read its file again; with a probation
                                                    the old one comes back when more answers fail
  platform-gateway run FILE --folder FOLDER [--consul URL | --instance SERVICE=HOST:PORT …] [--redis URL] [--nginx PROGRAM]
  platform-gateway contract FILE --url URL          asks a running gateway for what the file promises
  platform-gateway schema                           the JSON Schema, for editors
The tokens of Consul and Redis come from GATEWAY_CONSUL_TOKEN and the password in the URL of --redis or GATEWAY_REDIS_URL.
`

const options = {
  folder: { type: 'string' },
  'probation-ms': { type: 'string', default: '0' },
  consul: { type: 'string' },
  instance: { type: 'string', multiple: true, default: [] as string[] },
  redis: { type: 'string' },
  nginx: { type: 'string' },
  url: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values = ReturnType<typeof parse>['values']

function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], options, allowPositionals: true })
}

/** 0: done; 1: the answer is no; 2: the command is wrong. */
export async function main(args: readonly string[], output: Output): Promise<number> {
  let read: ReturnType<typeof parse>
  try {
    read = parse(args)
  } catch (error) {
    output.err(`${(error as Error).message}\n${usage}`)
    return 2
  }
  const [command, file, ...more] = read.positionals
  if (read.values.help) {
    output.out(usage)
    return 0
  }
  try {
    return (await run(command, file, more.length, read.values, output)) ?? wrong(output)
  } catch (error) {
    if (!GatewayError.isInstance(error)) throw error
    output.err(`${error.message}\n`)
    return 1
  }
}

function wrong({ err }: Output): number {
  err(usage)
  return 2
}

/** Undefined: not a command. */
async function run(
  command: string | undefined,
  file: string | undefined,
  more: number,
  values: Values,
  output: Output,
): Promise<number | undefined> {
  const { folder, url } = values
  if (more > 0) return undefined
  if (command === 'schema' && file === undefined) {
    output.out(`${JSON.stringify(gatewayJsonSchema(), null, 2)}\n`)
    return 0
  }
  if (command === 'apply' && file === undefined && folder !== undefined) {
    const probationMs = Number(values['probation-ms'])
    if (!Number.isInteger(probationMs) || probationMs < 0) return undefined
    await askToApply(resolve(folder), probationMs)
    output.out('in force\n')
    return 0
  }
  if (file === undefined) return undefined
  if (command === 'check') {
    const { routes, services } = readFrom(file)
    output.out(`${file}: ${routes.length} routes to ${Object.keys(services).length} services, nothing wrong\n`)
    return 0
  }
  if (command === 'diff' && folder !== undefined) return showDifference(readFrom(file), resolve(folder), output)
  if (command === 'contract' && url !== undefined) return showContract(readFrom(file), url, output)
  if (command === 'run' && folder !== undefined) {
    await runGatewayProgram({ ...values, file: resolve(file), folder: resolve(folder) })
    return Number(process.exitCode ?? 0)
  }
  return undefined
}

function readFrom(file: string): GatewayFile {
  let contents: string
  try {
    contents = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new GatewayError('ERR_GATEWAY_FILE', `${file} cannot be read`, { cause })
  }
  return readGatewayFile(contents, basename(file))
}

async function showDifference(after: GatewayFile, folder: string, { out }: Output): Promise<number> {
  const kept = join(folder, 'in-force.yaml')
  if (!existsSync(kept)) throw new GatewayError('ERR_GATEWAY_CLOSED', `no gateway has run in ${folder}`)
  const { lines, upstreams, lostPaths } = difference(readFrom(kept), after)
  const said = [...lines, ...upstreams, ...lostPaths.map((path) => `no longer answered: ${path}`)]
  out(said.length === 0 ? 'no difference\n' : `${said.join('\n')}\n`)
  const connections = await new NginxProcess({ program: 'nginx', folder, logger: safeLogger(undefined) }).connections()
  if (said.length > 0 && connections !== undefined) {
    out(
      `${connections} connections are open; of these, the ones that are still in use ${shutdownTimeoutMs / 1000} s after it is applied are cut\n`,
    )
  }
  return said.length === 0 ? 0 : 1
}

async function showContract(file: GatewayFile, url: string, { out }: Output): Promise<number> {
  const results = await runContract(contractCases(file), url)
  for (const { case: each, passed, found } of results)
    out(`${passed ? 'pass' : 'FAIL'} ${each.name}${passed ? '' : ` (expected ${each.expected}, ${found})`}\n`)
  const failed = results.filter(({ passed }) => !passed).length
  out(`${results.length - failed} passed, ${failed} failed\n`)
  return failed === 0 ? 0 : 1
}
