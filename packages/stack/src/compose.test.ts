import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { compose, composeContainers, composeInView, isWell } from './compose.ts'

/** Stands where the engine's client would: it prints what it was asked, or what `ps` and `inspect` print. */
const client = `#!/bin/sh
case "$*" in
  *" ps "*) printf '%s\\n' '{"ID":"1","Service":"redis","Name":"x-redis-1","State":"running","Health":"healthy","ExitCode":0}' \\
    '{"ID":"2","Service":"migrate","Name":"x-migrate-1","State":"exited","Health":"","ExitCode":0}' \\
    '{"ID":"3","Service":"stopped","Name":"x-stopped-1","State":"exited","Health":"","ExitCode":0}' ;;
  *fail*) echo secret; echo 'no such service: redis' >&2; exit 17 ;;
  inspect*) printf '%s\\n' '1 unless-stopped' '2 no' '3 unless-stopped' ;;
  *) printf '%s ' "$PLACE" "$@" ;;
esac
`
let folder: string
const path = process.env['PATH']
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stack-compose-'))
  writeFileSync(join(folder, 'docker'), client)
  chmodSync(join(folder, 'docker'), 0o755)
  process.env['PATH'] = `${folder}:${path}`
})
afterEach(() => {
  process.env['PATH'] = path
  rmSync(folder, { recursive: true })
})

const project = { files: ['a.yml', 'b.yml'], profiles: ['core'], env: { PLACE: 'here' } }

describe('a Compose project', () => {
  it('asks with its files, profiles and environment', async () => {
    expect(await compose(project, 'logs', 'redis')).toBe('here compose --ansi=never --file a.yml --file b.yml --profile core logs redis ')
  })

  it('tells its containers by service', async () => {
    const found = await composeContainers(project)
    expect(found.map(({ Service }) => Service)).toEqual(['migrate', 'redis', 'stopped'])
    expect(found.map(({ once }) => once)).toEqual([true, false, false])
    // Whoever should run and was stopped is not well, however well it left.
    expect(found.map(isWell)).toEqual([true, true, false])
  })
})

describe('a command of docker that fails', () => {
  it('tells what docker said about it: neither what it was asked nor what it answered', async () => {
    const error = await compose(project, 'fail', 'password').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'DockerError', message: 'no such service: redis', code: 17, stdout: 'secret\n' })
    expect((error as Error).cause).toBeUndefined()
  })

  it('says when there is none', async () => {
    process.env['PATH'] = '/nowhere'
    const none = { name: 'DockerError', message: 'there is no docker command here', code: 'ENOENT' }
    await expect(compose(project, 'ps')).rejects.toMatchObject(none)
    await expect(composeInView(project, 'ps')).rejects.toMatchObject(none)
  })
})

describe('a container is well', () => {
  const container = { Service: 'redis', Name: 'x', State: 'running', Health: 'healthy', ExitCode: 0, once: false }
  it.each([
    [{}, true],
    [{ Health: 'starting' }, false],
    [{ Health: '' }, true], // it has no healthcheck
    [{ State: 'restarting' }, false],
    [{ State: 'exited', Health: '' }, false],
    [{ State: 'exited', Health: '', once: true }, true],
    [{ State: 'exited', Health: '', ExitCode: 1, once: true }, false],
  ])('%o: %s', (state, well) => {
    expect(isWell({ ...container, ...state })).toBe(well)
  })
})
