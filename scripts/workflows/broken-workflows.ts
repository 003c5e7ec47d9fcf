export interface BrokenWorkflow {
  readonly name: string
  readonly text: string
  /** Part of what the check must say. */
  readonly says: string
}

/** A good workflow, broken in one place each: a check that finds nothing proves nothing. */
export function brokenWorkflows(good: string): BrokenWorkflow[] {
  const breaks: [name: string, from: string | RegExp, to: string, says: string][] = [
    ['a misspelt key', 'timeout-minutes:', 'timeout-minute:', 'unexpected key "timeout-minute"'],
    ['a name that no context has', '${{ github.sha }}', '${{ github.shaa }}', 'property "shaa" is not defined'],
    ['a matrix value that is not there', 'node-version: ${{ matrix.node }}', 'node-version: ${{ matrix.nodes }}', '"nodes" is not defined'],
    ['an event that does not exist', 'pull_request:', 'pull_requests:', 'unknown Webhook event "pull_requests"'],
    ['text that is no YAML', 'permissions:', 'permissions: [', 'Flow sequence'],
    ['no time limit', '    timeout-minutes: 60\n', '', 'job test has no timeout-minutes'],
    ['too many rights', 'contents: read', 'contents: write', '`contents: read` alone'],
    ['a script that nobody has', 'pnpm@12 test\n', 'pnpm@12 tests\n', 'no root script tests'],
    ['a way around the scripts', 'npx --yes pnpm@12 test\n', 'npx turbo run test\n', 'passes by the root scripts'],
    ['an action on a branch', /actions\/checkout@\w+/, 'actions/checkout@main', 'is not pinned'],
    ['a tag, which can be moved', /actions\/cache@\w+/, 'actions/cache@v4', 'is not pinned'],
  ]
  return breaks.map(([name, from, to, says]) => {
    const text = good.replace(from, () => to)
    if (text === good) throw new Error(`the good workflow has no "${from}" to break`)
    return { name, text, says }
  })
}
