/** Checks .github/workflows and renovate.json, and that the check itself refuses what is broken. Part of `lint`; needs no network. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './pinned-node.ts'
import { brokenWorkflows } from './workflows/broken-workflows.ts'
import { checkRenovate } from './workflows/renovate-schema.ts'
import { createWorkflowCheck } from './workflows/workflow-rules.ts'

const read = (file: string) => readFileSync(join(root, file), 'utf8')
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
const rules = { scripts: Object.keys(scripts) }
const check = await createWorkflowCheck()
const problems: string[] = []

const files = globSync('.github/workflows/*.yml', { cwd: root }).toSorted()
if (files.length === 0) problems.push('there are no workflows')
for (const file of files) problems.push(...check(file, read(file), rules))

for (const { name, text, says } of brokenWorkflows(read('.github/workflows/ci.yml'))) {
  const found = check('broken.yml', text, rules)
  if (!found.some((line) => line.includes(says))) problems.push(`the check lets pass: ${name} (found ${JSON.stringify(found)})`)
}

const settings = JSON.parse(read('renovate.json')) as object
const wrong = checkRenovate(settings)
if (wrong !== undefined) problems.push(`renovate.json ${wrong}`)
if (checkRenovate({ ...settings, packageRule: [] }) === undefined) problems.push('the check lets pass: a setting that Renovate lacks')

for (const problem of problems) console.error(problem)
console.log(`${files.length} workflows and renovate.json: ${problems.length === 0 ? 'well' : `${problems.length} problems`}`)
process.exitCode = problems.length === 0 ? 0 : 1
