import { spawn } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'

// Strict: what a runner would heed and this does not know must not be passed over.
const texts = z.record(z.string(), z.string()).default({})
const step = z.strictObject({
  name: z.string().optional(),
  if: z.literal('${{ always() }}').optional(),
  uses: z.string().optional(),
  with: z.unknown().optional(),
  run: z.string().optional(),
  env: texts,
})
const workflow = z.looseObject({ env: texts, jobs: z.record(z.string(), z.looseObject({ env: texts, steps: z.array(step).default([]) })) })

export interface JobRun {
  readonly file: string
  readonly job: string
  /** What expressions stand for: `secrets.DEPLOY_TARGET`, `github.sha`. One that is not here ends the run before its first step. */
  readonly values: Readonly<Record<string, string>>
  /** In place of what the workflow sets for all its jobs, and what a runner sets. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /** Each step is ended after that. */
  readonly withinMs: number
  /** The runner's folder for this job (`RUNNER_TEMP`). */
  readonly temp: string
  /** Another command in place of the workflow's, where this machine cannot run that. */
  readonly instead?: (command: string) => string
}

export interface JobOutcome {
  readonly isGood: boolean
  /** Everything that its steps said. */
  readonly text: string
  /** The one that failed first, by its name or its command. */
  readonly failed?: string
}

/** Runs the commands of a job of a workflow on this machine as a runner of GitHub's does: one after the other until one fails, by bash. Actions are left out. */
export async function runJob({
  file,
  job: name,
  values,
  env,
  cwd,
  withinMs,
  temp,
  instead = (command) => command,
}: JobRun): Promise<JobOutcome> {
  const { env: forAll, jobs } = workflow.parse(parse(readFileSync(file, 'utf8')))
  const { env: forJob, steps } = jobs[name]!
  const commands = steps.flatMap(({ name: title, run, env: own, if: condition }) => {
    if (run === undefined) return []
    const told = Object.entries({ ...forAll, ...forJob, ...own }).map(([key, text]) => [key, written(text, values)])
    return [
      { title: title ?? run, command: instead(written(run, values)), isAlways: condition !== undefined, env: Object.fromEntries(told) },
    ]
  })
  let text = ''
  let failed: string | undefined
  for (const each of commands) {
    if (failed !== undefined && !each.isAlways) continue
    const said = await bash(each.command, { ...process.env, RUNNER_TEMP: temp, ...each.env, ...env }, { cwd, withinMs, temp })
    text += said.text
    if (said.code !== 0) failed ??= each.title
  }
  return { isGood: failed === undefined, text, ...(failed !== undefined && { failed }) }
}

function written(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{\{\s*(.*?)\s*\}\}/g, (_, expression: string) => {
    const value = values[expression]
    if (value === undefined) throw new Error(`nobody says what ${expression} is`)
    return value
  })
}

/** As a runner does where a step names no shell: without `pipefail`. */
async function bash(
  command: string,
  env: NodeJS.ProcessEnv,
  { cwd, withinMs, temp }: Pick<JobRun, 'cwd' | 'withinMs' | 'temp'>,
): Promise<{ code: number | null; text: string }> {
  const script = join(temp, 'step.sh')
  writeFileSync(script, command)
  try {
    // In a group of its own, so that it ends with whatever it has begun.
    const child = spawn('bash', ['-e', script], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (more: string) => (text += more))
    const patience = setTimeout(() => {
      text += `ended after ${withinMs / 1000} s\n`
      process.kill(-child.pid!, 'SIGKILL')
    }, withinMs)
    const code = await new Promise<number | null>((ended, failed) => child.once('error', failed).once('close', ended))
    clearTimeout(patience)
    return { code, text }
  } finally {
    rmSync(script, { force: true })
  }
}
