import type { Socket } from 'node:net'
import type pg from 'pg'
import { pause, settlesWithin } from '@platform/kernel'
import { type Blocker, sqlState } from './errors.ts'
import type { Session } from './session.ts'

/** Still at work; done or gone, so the answer was lost on its way; or the server answers but does not say. */
export type Verdict = 'working' | 'lost' | 'unknown'

interface Backend {
  readonly pid: number
  readonly working: boolean
}

const goneTimeoutMs = 1_000

/**
 * What one server says of our other connections to it. Asked on one connection of its own, for all at once, and only when one of them is silent
 * or was cut in the middle of a statement. A process is known by its number and by its age: a number may be used again.
 */
export class Backends {
  readonly #connect: () => Promise<pg.Client>
  readonly #answerTimeoutMs: number
  #asking: Promise<unknown> = Promise.resolve()
  #doomed: { readonly sessions: Session[]; readonly ended: Promise<void> } | undefined

  constructor(connect: () => Promise<pg.Client>, answerTimeoutMs: number) {
    this.#connect = connect
    this.#answerTimeoutMs = answerTimeoutMs
  }

  /** Never rejects. */
  async examine(sessions: readonly Session[]): Promise<Map<Session, Verdict>> {
    const verdicts = new Map<Session, Verdict>()
    const read = new Map(sessions.map((session) => [session, bytesRead(session)]))
    try {
      const backends = await this.#alone(async (client) => {
        await this.#ask(client, sessions)
        // What was sent before is here by then.
        await pause(100)
        return this.#ask(client, sessions)
      })
      for (const session of sessions) {
        const moving = bytesRead(session) !== read.get(session)
        const working = backends.some(({ pid, working }) => pid === session.pid && working)
        verdicts.set(session, moving || working ? 'working' : 'lost')
      }
    } catch (error) {
      // A server that refuses lives; one that says nothing at all is as silent as the connection in question.
      for (const session of sessions) verdicts.set(session, sqlState(error) === undefined ? 'lost' : 'unknown')
    }
    return verdicts
  }

  /** Those of them that wait for a lock, by their number, with the processes that hold them up. */
  async blockers(sessions: readonly Session[]): Promise<Map<number, Blocker[]>> {
    const found = new Map<number, Blocker[]>()
    const { rows } = await this.#alone((client) =>
      query<Blocker & { waiting: number }>(client, blockers, parametersOf(sessions), this.#answerTimeoutMs),
    )
    for (const { waiting, ...blocker } of rows) found.set(waiting, [...(found.get(waiting) ?? []), blocker])
    return found
  }

  /**
   * Ends the server process of a connection that was cut while a statement ran, so that it does not go on beside its successor. Resolves
   * when it has gone, or when the server cannot be asked. Never rejects.
   */
  end(session: Session): Promise<void> {
    if (this.#doomed !== undefined) {
      this.#doomed.sessions.push(session)
      return this.#doomed.ended
    }
    const sessions = [session]
    const ended = this.#alone(async (client) => {
      this.#doomed = undefined
      const toEnd = sessions.filter(({ committing }) => !committing)
      if (toEnd.length > 0) await query(client, terminate, parametersOf(toEnd), this.#answerTimeoutMs)
      const deadline = performance.now() + goneTimeoutMs
      while ((await this.#ask(client, sessions)).length > 0 && performance.now() < deadline) await pause(20)
    }).catch(() => {
      if (this.#doomed?.sessions === sessions) this.#doomed = undefined
    })
    this.#doomed = { sessions, ended }
    return ended
  }

  async #ask(client: pg.Client, sessions: readonly Session[]): Promise<readonly Backend[]> {
    return (await query<Backend>(client, state, parametersOf(sessions), this.#answerTimeoutMs)).rows
  }

  /** One such connection at a time. */
  #alone<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const turn = this.#asking.then(async () => {
      const client = await this.#connect()
      try {
        return await work(client)
      } finally {
        const ended = client.end()
        if (!(await settlesWithin(ended, goneTimeoutMs))) client.connection.stream.destroy()
      }
    })
    this.#asking = turn.catch(() => {})
    return turn
  }
}

/** Ours are as old as we know them at least; a process that took over the number is younger. */
const ours = `from pg_catalog.pg_stat_activity a
  join unnest($1::int[], $2::float8[]) as ours (pid, age_ms) on a.pid = ours.pid
  where pg_catalog.clock_timestamp() - a.backend_start >= ours.age_ms * interval '1 ms' and a.usename = current_user`
/** A process that waits for us to read has an answer on its way that does not come. */
const state = `select a.pid, coalesce(a.state = 'active' and a.wait_event_type is distinct from 'Client', true) as working ${ours}`
const blockers = `select o.pid as waiting, b.pid, coalesce(s.application_name, '') as application, coalesce(s.state, '') as state,
    coalesce(extract(epoch from pg_catalog.clock_timestamp() - s.xact_start) * 1000, 0)::int as "transactionMs"
  from (select a.pid ${ours}) o cross join lateral unnest(pg_catalog.pg_blocking_pids(o.pid)) as b (pid)
    left join pg_catalog.pg_stat_activity s on s.pid = b.pid`
const terminate = `select pg_catalog.pg_terminate_backend(a.pid) ${ours}`

function parametersOf(sessions: readonly Session[]): unknown[] {
  const now = performance.now()
  return [sessions.map(({ pid }) => pid), sessions.map(({ openedAt }) => Math.max(0, now - openedAt - 50))]
}

function bytesRead(session: Session): number {
  return (session.client.connection.stream as Socket).bytesRead
}

async function query<R extends pg.QueryResultRow>(
  client: pg.Client,
  text: string,
  values: unknown[],
  timeoutMs: number,
): Promise<pg.QueryResult<R>> {
  const answer = client.query<R>(text, values)
  answer.catch(() => {})
  if (!(await settlesWithin(answer, timeoutMs))) throw new Error(`the server did not answer within ${timeoutMs} ms`)
  return answer
}
