import { compose, composeContainers, type ComposeProject, isWell } from '@platform/stack/compose'

/** Prints one line a container, and one for each that should be there and is not; true when all is well. */
export async function printStatus(project: ComposeProject): Promise<boolean> {
  const found = await composeContainers(project)
  if (found.length === 0) {
    console.log('Nothing runs; `pnpm infra up` starts it.')
    return false
  }
  for (const container of found) {
    const state = container.State === 'running' ? container.Health || 'running' : `${container.State} (${container.ExitCode})`
    console.log(`${isWell(container) ? ' ok ' : 'FAIL'} ${container.Service.padEnd(20)} ${state}`)
  }
  const core = (await compose({ ...project, profiles: ['core'] }, 'config', '--services')).split('\n').filter(Boolean)
  const missing = core.filter((name) => !found.some(({ Service }) => Service === name)).toSorted()
  for (const name of missing) console.log(`FAIL ${name.padEnd(20)} is not there`)
  return missing.length === 0 && found.every(isWell)
}
