import { spawnSync } from 'node:child_process'
import { dockerFolder } from './project.ts'

/** Of which release images are that are built here: the commit, and whether something was changed since. `FILM_STORE_RELEASE` says otherwise. */
export function release(env: NodeJS.ProcessEnv = process.env): string {
  const given = env['FILM_STORE_RELEASE']
  if (given) return given
  const { stdout } = spawnSync('git', ['describe', '--always', '--dirty', '--abbrev=12', '--exclude=*'], {
    cwd: dockerFolder,
    encoding: 'utf8',
  })
  return stdout?.trim() || 'unknown'
}
