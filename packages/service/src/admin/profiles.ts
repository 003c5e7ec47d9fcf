import type { IncomingMessage, ServerResponse } from 'node:http'
import { Session } from 'node:inspector/promises'
import { pause } from '@platform/kernel'
import type { LoggerLike } from '../logger-like.ts'
import type { AuditLike } from '../options.ts'
import { reply } from './reply.ts'

type Kind = 'cpu' | 'heap'

const defaultSeconds = 10
const mostSeconds = 30
/** Between two samples. V8 takes 100 µs when nobody says, at ten times the price. */
const cpuIntervalMicros = 1_000
/** Bytes allocated between two samples. */
const heapIntervalBytes = 512 * 1_024

const costs: Readonly<Record<Kind, string>> = {
  cpu: 'costs some percent of CPU while it runs, and stops the process for some tens of milliseconds at its end',
  heap: 'costs some percent of CPU while it runs; shows what was allocated meanwhile and still lives, not the whole heap',
}

export interface Profiles {
  /** What it costs and how it is asked for. */
  describe(kind: Kind): string
  /** Never rejects; answers when it is done, or stops when the client leaves. */
  take(kind: Kind, request: IncomingMessage, response: ServerResponse): Promise<void>
}

/** CPU and heap profiles of this process, one at a time, each written down before it begins. */
export function createProfiles({ logger, audit }: { logger: LoggerLike; audit: AuditLike | undefined }): Profiles {
  let running: Kind | undefined

  async function take(kind: Kind, seconds: number, signal: AbortSignal): Promise<object> {
    const session = new Session()
    session.connect()
    try {
      return await (kind === 'cpu' ? cpuProfile(session, seconds, signal) : heapProfile(session, seconds, signal))
    } finally {
      session.disconnect()
    }
  }

  return {
    describe: (kind) => `POST /profile/${kind}?seconds=1..${mostSeconds} (default ${defaultSeconds}): ${costs[kind]}`,
    async take(kind, request, response) {
      const seconds = secondsOf(request.url ?? '')
      if (seconds === undefined) return reply(response, 400, `seconds is a number from 1 to ${mostSeconds}`)
      if (running !== undefined) return reply(response, 409, `a ${running} profile is being taken; one at a time`)
      running = kind
      const left = new AbortController()
      response.once('close', () => left.abort(new Error('the client has left')))
      const facts = { profile: kind, seconds, client: request.socket.remoteAddress }
      try {
        const actor = { type: 'admin-token', id: facts.client ?? 'unknown' }
        const target = { type: 'process', id: String(process.pid) }
        // Before it begins: what cannot be written down is not done.
        await audit?.record({ actor, action: `profile.${kind}`, target, outcome: 'success', reason: `for ${seconds} s` })
        logger.warn(facts, `a ${kind} profile begins; it ${costs[kind]}`)
        const profile = await take(kind, seconds, left.signal)
        const name = `${process.pid}-${Date.now()}.${kind}profile`
        const headers = {
          'content-type': 'application/json',
          'cache-control': 'no-store',
          'content-disposition': `attachment; filename="${name}"`,
        }
        response.writeHead(200, headers).end(JSON.stringify(profile))
      } catch (error) {
        if (left.signal.aborted) return
        logger.error({ err: error, ...facts }, 'profile failed')
        reply(response, 500, 'failed; see the log')
      } finally {
        running = undefined
      }
    },
  }
}

async function cpuProfile(session: Session, seconds: number, signal: AbortSignal): Promise<object> {
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: cpuIntervalMicros })
  await session.post('Profiler.start')
  await pause(seconds * 1_000, signal)
  return (await session.post('Profiler.stop')).profile
}

async function heapProfile(session: Session, seconds: number, signal: AbortSignal): Promise<object> {
  await session.post('HeapProfiler.startSampling', { samplingInterval: heapIntervalBytes })
  await pause(seconds * 1_000, signal)
  return (await session.post('HeapProfiler.stopSampling')).profile
}

function secondsOf(url: string): number | undefined {
  const given = new URLSearchParams(url.split('?')[1]).get('seconds')
  if (given === null) return defaultSeconds
  const seconds = Number(given)
  return given !== '' && seconds >= 1 && seconds <= mostSeconds ? seconds : undefined
}
