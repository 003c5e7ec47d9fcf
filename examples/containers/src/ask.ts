import { compose, type ComposeProject } from '@platform/stack/compose'

/** Runs inside an instance, which has the token: prints what its admin listener answers. */
export const askInside = `
const { readFileSync } = require('node:fs')
const ask = (path, method = 'GET') => {
  const scheme = Object.keys(process.env).some((name) => name.endsWith('_CERTIFICATE')) ? 'https' : 'http'
  const headers = { authorization: 'Bearer ' + readFileSync('/run/secrets/admin_token', 'utf8') }
  return fetch(scheme + '://127.0.0.1:9000' + path, { method, headers })
}
`
const print = `${askInside}
const [path, method] = process.argv.slice(1)
ask(path, method).then(async (answer) => {
  process.stdout.write(Buffer.from(await answer.arrayBuffer()))
  process.exitCode = answer.ok ? 0 : 1
})`

/** What an instance answers to an operator: `/ready`, `/status`, `POST /profile/cpu?seconds=10`. Rejects with the answer when it is no good one. */
export async function ask(project: ComposeProject, [instance, ...request]: readonly string[]): Promise<string> {
  const [path, method = 'GET'] = request.toReversed()
  if (instance === undefined || !path?.startsWith('/') || request.length > 2)
    throw new Error('an instance, a method where it is not GET, and a path: pnpm infra ask orders-api-1 POST /profile/cpu')
  return compose(project, 'exec', '-T', instance, 'node', '-e', print, path, method).catch(
    (error: { stdout?: string; stderr?: string }) => {
      throw new Error(`${error.stdout || error.stderr}`.trim(), { cause: error })
    },
  )
}
