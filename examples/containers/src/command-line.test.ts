import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { infraArgs } from './command.ts'
import { dockerFolder } from './project.ts'

/**
 * Stands where the engine's client would. Its folder holds what it answers: a file for each question, `no-engine` when none answers. What it was asked is in
 * `asked`.
 */
const client = `#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/asked"
if [ -e "$here/no-engine" ]; then echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1; fi
case "$*" in
  *' config --format json') echo '{"services":{},"networks":{},"volumes":{},"secrets":{}}' ;;
  'node ls'*) echo node-1 ;;
  'node inspect'*) cat "$here/labels" ;;
  'ps '*compose.project=*' --format'*) ;;
  'ps --quiet --filter label=com.docker.compose.project'*) cat "$here/by-compose" ;;
  'ps --quiet --filter label=com.docker.stack.namespace'*) cat "$here/by-stack" ;;
  'stack services'*) echo 'service-1 film-store_postgres 0/1' ;;
  'service inspect'*) echo '[{"ID":"service-1","Spec":{"Name":"film-store_postgres","TaskTemplate":{"ContainerSpec":{}},"Mode":{"Replicated":{"Replicas":1}}}}]' ;;
  'stack ps'*) echo 'nothing found in stack: film-store' >&2; exit 1 ;;
esac
`
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'film-store-command-'))
  mkdirSync(join(folder, 'bin'))
  place('docker', client, 0o755)
  place('labels', 'data\n')
  place('by-compose', '')
  place('by-stack', '')
})
afterEach(() => rmSync(folder, { recursive: true }))

function place(name: string, text: string, mode = 0o644): void {
  writeFileSync(join(folder, 'bin', name), text, { mode })
}
const asked = (): string => (existsSync(join(folder, 'bin/asked')) ? readFileSync(join(folder, 'bin/asked'), 'utf8') : '')

interface Said {
  readonly code: number | null
  readonly text: string
}

/** From a folder that is not the repository's. */
function infra(args: readonly string[], env: NodeJS.ProcessEnv = {}, onStart: (pid: number) => void = () => {}): Promise<Said> {
  const child = spawn(process.execPath, infraArgs(args), {
    cwd: folder,
    env: { PATH: `${join(folder, 'bin')}:/usr/bin:/bin`, FILM_STORE_SECRETS: join(folder, 'secrets'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onStart(child.pid!)
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (more: string) => (text += more))
  return new Promise((resolve, reject) => child.once('error', reject).once('close', (code) => resolve({ code, text })))
}

const trace = /^\s+at /m

describe('what an operator is told', () => {
  it.each([
    ['status', 'FILM_STORE_PORT', 'abc'],
    ['up', 'COMPOSE_PROJECT_NAME', 'Shop'],
    ['restore', 'FILM_STORE_BACKUPS', 'backups'],
  ])('of `infra %s` with %s=%s, before anything is done', async (command, name, text) => {
    const before = readdirSync(dockerFolder)
    const said = await infra([command], { [name]: text })
    expect(said).toMatchObject({ code: 2, text: expect.stringContaining(name) })
    expect(said.text).not.toMatch(trace)
    expect([asked(), existsSync(join(folder, 'secrets')), readdirSync(dockerFolder)]).toEqual(['', false, before])
  })

  it.each([[['status']], [['deploy', '--version', '1']], [['push', '--registry', 'r', '--version', '1']]])(
    'by %j without an engine: what docker said, and no more',
    async (args) => {
      place('no-engine', '')
      expect(await infra(args)).toEqual({ code: 1, text: 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n' })
    },
  )

  it.each([[['status']], [['logs']]])('by %j without docker', async (args) => {
    expect(await infra(args, { PATH: '/nowhere' })).toEqual({ code: 1, text: 'there is no docker command here\n' })
  })

  it.each([
    [['ask', 'orders-api-1', 'ready'], 'an instance'],
    [['push', '--registry', 'https://r', '--version', '1'], '--registry'],
    [['deploy', '--version', '1', '--stack', 'A B'], '--stack'],
  ])('by %j: what is wrong with it', async (args, says) => {
    const said = await infra(args)
    expect(said).toMatchObject({ code: 1, text: expect.stringContaining(says) })
    expect(said.text.trim().split('\n')).toHaveLength(1)
  })
})

it('does not take the passwords of a stack with the volumes of a store', async () => {
  place('by-stack', 'container-1\n')
  mkdirSync(join(folder, 'secrets'))
  writeFileSync(join(folder, 'secrets/complete'), '')
  expect(await infra(['down', '--volumes'])).toMatchObject({ code: 1, text: expect.stringContaining('a stack film-store runs here') })
  expect([existsSync(join(folder, 'secrets/complete')), asked().includes(' down ')]).toEqual([true, false])
})

describe('the report of objectives', () => {
  const atPort = async (answer: (response: ServerResponse) => void, ask: (port: string, asked: Promise<unknown>) => Promise<void>) => {
    const server = createServer((_, response) => answer(response)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      await ask(String((server.address() as AddressInfo).port), once(server, 'request'))
    } finally {
      server.closeAllConnections()
      server.close()
    }
  }

  it('says when another program answers', () =>
    atPort(
      (response) => response.end('<html></html>'),
      async (port) => {
        const said = await infra(['slo'], { FILM_STORE_PROMETHEUS_PORT: port })
        expect(said).toMatchObject({ code: 1, text: expect.stringContaining('is no Prometheus') })
      },
    ))

  it('ends with Ctrl-C while nobody answers', () =>
    atPort(
      () => {},
      async (port, isAsked) => {
        let child = 0
        const over = infra(['slo'], { FILM_STORE_PROMETHEUS_PORT: port }, (pid) => (child = pid))
        await isAsked
        process.kill(child, 'SIGINT')
        expect(await over).toEqual({ code: 1, text: 'stopped by SIGINT\n' })
      },
    ))
})

describe('a deploy', () => {
  const deploy = ['deploy', '--version', '1']

  it('is refused where no node may hold the data, and draws no password', async () => {
    place('labels', '<no value>\n')
    expect(await infra(deploy)).toMatchObject({ code: 1, text: expect.stringContaining('no node may hold the data') })
    expect([asked().includes('stack deploy'), existsSync(join(folder, 'secrets'))]).toEqual([false, false])
  })

  it('is refused beside a store of that name which Compose runs on the same volumes', async () => {
    place('by-compose', 'container-1\n')
    expect(await infra(deploy)).toMatchObject({ code: 1, text: expect.stringContaining('runs here already') })
    expect(asked()).not.toContain('stack deploy')
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('that waits ends with %s, and says so', async (signal) => {
    let child = 0
    const over = infra(deploy, {}, (pid) => (child = pid))
    await vi.waitFor(() => expect(asked()).toContain('stack ps'), { timeout: 30_000, interval: 50 })
    process.kill(child, signal)
    const said = await over
    expect(said).toMatchObject({ code: 1, text: expect.stringContaining(`stopped by ${signal}`) })
    expect(said.text).toContain('"outcome":"failure"')
  })
})
