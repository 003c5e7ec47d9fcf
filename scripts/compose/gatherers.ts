import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { allProfiles, filmStore, logPorts } from '../../examples/containers/src/index.ts'
import { compose, type ComposeProject } from '../../packages/stack/src/compose.ts'

const listen = `process.argv.slice(1).forEach((port) => require('node:net').createServer().listen(Number(port)))`

/**
 * In the places of those that gather lines, whose images may not be there: programs that listen at their ports, in the very networks that
 * `compose.logs.yml` gives them. Shows who reaches whom, and nothing else of them.
 */
export async function gathererStandIns({ env }: ComposeProject): Promise<AsyncDisposable> {
  const folder = mkdtempSync(join(tmpdir(), 'film-store-gatherers-'))
  const file = join(folder, 'compose.yml')
  const services = Object.entries(logPorts).map(([name, ports]) => {
    const entrypoint = JSON.stringify(['node', '-e', listen, ...ports.map(String)])
    return `  ${name}: { image: film-store/orders-api, user: node, entrypoint: ${entrypoint}, command: [], healthcheck: { disable: true }, depends_on: !reset {}, ports: !reset [] }`
  })
  writeFileSync(file, ['services:', ...services, ''].join('\n'))
  const logs = filmStore(['logs'], env, [...allProfiles, 'logs'])
  const project = { ...logs, files: [...logs.files, file] }
  const names = Object.keys(logPorts)
  await compose(project, 'up', '--detach', '--no-deps', '--no-build', ...names)
  return {
    async [Symbol.asyncDispose]() {
      await compose(project, 'rm', '--stop', '--force', '--volumes', ...names)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
