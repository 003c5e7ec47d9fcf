import { composeContainers, type ComposeProject } from '../../packages/stack/src/compose.ts'

/** Does its work; resolves with the faults that it found, and each service that has other containers than before. */
export async function keepsContainers(project: ComposeProject, work: () => Promise<readonly string[]>): Promise<readonly string[]> {
  const before = await ids(project)
  const faults = await work()
  const after = await ids(project)
  const changed = [...new Set([...before.keys(), ...after.keys()])].filter((service) => before.get(service) !== after.get(service))
  return [...faults, ...changed.map((service) => `another container of ${service}`)]
}

async function ids(project: ComposeProject): Promise<ReadonlyMap<string, string>> {
  const byService = Map.groupBy(await composeContainers(project), ({ Service }) => Service)
  return new Map(
    [...byService].map(([service, all]) => [
      service,
      all
        .map(({ ID }) => ID)
        .toSorted()
        .join(),
    ]),
  )
}
