/** Builds and publishes what changesets has versioned. Runs in the release workflow; refuses while nobody says where the packages live. */
import { bin, requirePinnedNode } from './pinned-node.ts'
import { repositoryUrl } from './package-identity.ts'
import { run } from './step.ts'

requirePinnedNode()
if (repositoryUrl() === undefined) {
  console.error(
    'The field "repository" of package.json is empty, and npm checks provenance against it.\n' +
      'Fill in https://github.com/owner/name, then: node scripts/check-generated.ts --write',
  )
  process.exit(1)
}
process.exitCode =
  (await run(bin('turbo'), ['run', 'build', '--force', '--filter=./packages/*'])) || (await run(bin('changeset'), ['publish']))
