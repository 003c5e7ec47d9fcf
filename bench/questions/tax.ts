import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { Pool } from 'undici'
import { median, type Question, row } from '../report.ts'

const script = resolve(import.meta.dirname, '../variants/tax.ts')
const variants = ['bare', 'ours', 'usual'] as const
type Variant = (typeof variants)[number]
const connections = 8
/** Until then a fresh process runs much of a request unoptimized, the more of it there is. */
const warmUp = 20_000
const ids = 500

const question: Question = {
  title: 'What does a request cost a service, bare, with everything of ours, and with what people usually put together?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 3 : 7
    const requests = quick ? 10_000 : 40_000
    const values: Record<Variant, number[]> = { bare: [], ours: [], usual: [] }
    for (let round = 0; round < rounds; round++) {
      for (const variant of round % 2 === 0 ? variants : variants.toReversed()) values[variant].push(await cpuPerRequest(variant, requests))
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const middle = (variant: Variant) => median(values[variant])
    const tax = middle('ours') / middle('bare')
    return {
      versions: versions(),
      rows: variants.map((variant) => row(variant, 'CPU per request', 'µs', values[variant])),
      checks: [
        {
          name: 'everything of ours, against bare Fastify',
          target: 'at most 2x (aim 1.5x)',
          measured: `${tax.toFixed(2)}x`,
          holds: tax <= 2,
        },
        {
          name: 'everything of ours, against instrumentation that patches, pino-http and lru-cache',
          target: 'less',
          measured: `${(middle('ours') / middle('usual')).toFixed(2)}x`,
          holds: middle('ours') < middle('usual'),
        },
      ],
    }
  },
}

/** A fresh process, warmed up; every answer is looked at. */
async function cpuPerRequest(variant: Variant, requests: number): Promise<number> {
  const server = fork(script, [variant], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  try {
    const { port } = await told<{ port: number }>(server)
    const pool = new Pool(`http://127.0.0.1:${port}`, { connections, pipelining: 1 })
    await load(pool, warmUp)
    server.send('count')
    await told(server)
    await load(pool, requests)
    server.send('count')
    const { cpuMicros } = await told<{ cpuMicros: number }>(server)
    await pool.destroy()
    return cpuMicros / requests
  } finally {
    server.kill('SIGKILL')
  }
}

async function told<T>(server: ChildProcess): Promise<T> {
  const ended = once(server, 'exit').then(() => {
    throw new Error('the server ended')
  })
  const [message] = (await Promise.race([once(server, 'message'), ended])) as [T]
  return message
}

async function load(pool: Pool, requests: number): Promise<void> {
  let sent = 0
  const customer = async () => {
    while (sent < requests) {
      const id = String(sent++ % ids)
      const { statusCode, body } = await pool.request({ path: `/films/${id}`, method: 'GET' })
      const answer = (await body.json()) as { id: string; text: string }
      if (statusCode !== 200 || answer.id !== id || answer.text.length !== 254) throw new Error(`a wrong answer: ${statusCode}`)
    }
  }
  await Promise.all(Array.from({ length: connections }, customer))
}

function versions(): Record<string, string> {
  const { resolve: find } = createRequire(script)
  const version = (name: string) => {
    const file = find(name).replace(new RegExp(`(node_modules/${name})/.*`), '$1/package.json')
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
  }
  const peers = ['fastify', '@opentelemetry/instrumentation-http', '@fastify/otel', 'pino-http', 'lru-cache']
  return { node: process.versions.node, ...Object.fromEntries(peers.map((name) => [name, version(name)])) }
}

export default question
