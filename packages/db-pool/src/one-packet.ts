import pg from 'pg'
import type { QueryResult } from './connection.ts'

export interface Submits {
  query(config: unknown, values?: unknown, done?: (error: Error | null, result: QueryResult) => void): unknown
}

/** A text whose answer comes first. */
export interface Ahead {
  readonly text: string
  readonly done: (error: unknown, result?: QueryResult) => void
}

/** Two texts in one packet, answered one after the other: `pg` is given the second when the first is answered, and finds it sent. */
export function sendInOnePacket(
  client: Submits,
  ahead: Ahead,
  text: string,
  done: (error: Error | null, result: QueryResult) => void,
): void {
  const second = Object.assign(new pg.Query(text), { callback: done, submit: () => null })
  const first = Object.assign(new pg.Query(ahead.text), {
    callback(error: Error | null, result: QueryResult) {
      client.query(second)
      if (error) ahead.done(error)
      else ahead.done(undefined, result)
    },
    submit(connection: pg.Connection) {
      const { stream } = connection
      stream.cork()
      const { query: send } = connection as unknown as { query(text: string): void }
      send.call(connection, ahead.text)
      send.call(connection, text)
      stream.uncork()
      return null
    },
  })
  client.query(first)
}
