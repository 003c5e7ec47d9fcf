/** What watches the store, as far as it can be checked without an engine. Part of `lint`. */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { failures } from '../examples/containers/src/failures.ts'
import { alertNames, routeTests, runbookPage } from '../examples/operations/src/index.ts'
import { composeFiles, type FileService } from './compose-files.ts'
import { brokenCommands } from './operator-commands.ts'
import { root } from './pinned-node.ts'

const problems: string[] = []
const notes: string[] = []
const files = composeFiles()
const read = (file: string) => readFileSync(join(root, file), 'utf8')

/** What may run at once on one host, by the sum of the limits: store, backups, watch and dashboard; and the logs beside them (decision 0104). */
const budgets = [
  { file: 'docker/compose.yml', mostMb: 2_560 },
  { file: 'docker/compose.logs.yml', mostMb: 2_560 },
] as const

/** What runs once, or when it is named, is over before the rest has grown. */
function memory({ file, mostMb }: (typeof budgets)[number]): string {
  // An override of what another file describes has no image.
  const lasting = Object.entries(files.get(file)!).filter(
    ([, { restart, image }]) => restart !== 'no' && restart !== 'on-failure' && image !== undefined,
  )
  const megabytes = ({ mem_limit: limit = '' }: FileService) => Number(/^(\d+)m$/.exec(limit)?.[1] ?? Number.NaN)
  for (const [name, service] of lasting)
    if (Number.isNaN(megabytes(service))) problems.push(`${file}: ${name} has no mem_limit in megabytes`)
  const sums = new Map<string, number>()
  for (const [, service] of lasting) {
    for (const profile of service.profiles ?? []) sums.set(profile, (sums.get(profile) ?? 0) + megabytes(service))
  }
  const all = [...sums.values()].reduce((total, each) => total + each, 0)
  if (all > mostMb) problems.push(`${file}: the limits sum up to ${all} MB, more than ${mostMb}`)
  return [...sums].map(([profile, each]) => `${profile} ${each} MB`).join(', ')
}

/** Each alert has a section in the page that it links to, and each section an alert. */
function runbooks(): void {
  const sections = new Map(
    read(runbookPage)
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.slice(0, section.indexOf('\n')).trim(), section]),
  )
  for (const name of alertNames) {
    const section = sections.get(name)
    if (section === undefined) problems.push(`${runbookPage}: no section about ${name}`)
    for (const part of ['What it means', 'Look', 'Mend'])
      if (section !== undefined && !section.includes(`**${part}.**`)) problems.push(`${runbookPage}: ${name} does not say "**${part}.**"`)
    const rehearsed = rehearsedLine(name)
    if (section !== undefined && rehearsed !== '' && !section.includes(rehearsed))
      problems.push(`${runbookPage}: ${name} does not say "${rehearsed}"`)
  }
  for (const name of sections.keys()) if (!alertNames.includes(name)) problems.push(`${runbookPage}: there is no alert ${name}`)
}

/** What `infra rehearse` breaks to see it; nothing of an alert that fires while nothing is broken. */
function rehearsedLine(alert: string): string {
  const broken = failures.filter(({ alerts }) => alerts.some(({ labels }) => labels.alertname === alert)).map(({ what }) => what)
  return broken.length === 0 ? '' : `**Rehearsed.** ${broken.map((what) => what[0]!.toUpperCase() + what.slice(1)).join('. ')}.`
}

/** Ports that are published, in whatever file: on this machine alone, but for the door, whose address somebody may change. */
function published(): void {
  for (const [file, services] of files)
    for (const [name, { ports = [] }] of Object.entries(services))
      for (const port of ports)
        if (!port.startsWith('127.0.0.1:') && !(name === 'gateway' && port.startsWith('${FILM_STORE_ADDRESS:-127.0.0.1}:')))
          problems.push(`${file}: ${name} publishes ${port} beyond this machine`)
}

/** What pages tell somebody to type is there; and the check finds what is not. */
function typed(): void {
  for (const page of globSync(['docs/operations/*.md', 'README.md', 'CONTRIBUTING.md'], { cwd: root }))
    problems.push(...brokenCommands(page, read(page)))
  const broken = [
    'infra upp',
    'infra down --no-build',
    'infra compose exec postgress psql',
    'infra ask order-api-1 /ready',
    'infra logs logstsh',
    'rollout katalog-api',
    'infra backup && infra restor',
    'FILM_STORE_PROT=8443 npx --yes pnpm@12 infra up',
    'pnpm rollout orders-api --imag x',
  ]
  for (const line of broken) if (brokenCommands('a page', `\`${line}\``).length !== 1) problems.push(`the check lets pass: ${line}`)
}

function tool(program: string, ...args: string[]): void {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: join(root, 'docker'), encoding: 'utf8' })
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
    if (!notes.includes(`${program} is not here: \`test:compose\` runs it in its image`))
      notes.push(`${program} is not here: \`test:compose\` runs it in its image`)
  } else if (status !== 0) problems.push(`${program} ${args.join(' ')}:\n${stdout}${stderr}`)
}

const sums = budgets.map(memory).join(', ')
if (existsSync(join(root, runbookPage))) runbooks()
else problems.push(`${runbookPage} is missing`)
published()
typed()
for (const file of ['objectives', 'symptoms']) {
  tool('promtool', 'check', 'rules', `prometheus/${file}.rules.yml`)
  tool('promtool', 'test', 'rules', `prometheus/${file}.test.yml`)
}
tool('amtool', 'check-config', 'alertmanager/alertmanager.yml')
for (const { labels, to } of routeTests) {
  const words = Object.entries(labels).map(([label, value]) => `${label}=${value}`)
  tool('amtool', 'config', 'routes', 'test', '--config.file=alertmanager/alertmanager.yml', `--verify.receivers=${to}`, ...words)
}

for (const note of notes) console.log(note)
for (const problem of problems) console.error(problem)
console.log(`${alertNames.length} alerts, limits of memory: ${sums}: ${problems.length === 0 ? 'well' : `${problems.length} problems`}`)
process.exitCode = problems.length === 0 ? 0 : 1
