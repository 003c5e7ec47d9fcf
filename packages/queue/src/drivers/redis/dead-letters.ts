import type { DeadLetter, DeadLetterStore } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import { count, discard, numbers, read, releaseKey, replay } from './dead-letter-scripts.ts'
import { parseRecord } from './record.ts'
import { baseKey } from './structure.ts'

type Row = [number: string, record: string, death: string, diedAt: string, replays: number, parked: number]

const pageSize = 100

/** A dead letter is a message of its group whose number stands among the dead; one with a key still holds its key's turn, which is what parking is. */
export function redisDeadLetters(connection: Connection, prefix: string): DeadLetterStore {
  const group = (name: string): string => encodeURIComponent(name)
  const base = (destination: string): string => baseKey(prefix, destination)
  return {
    count: async (destination, name, { signal }) =>
      (await connection.persist(signal, 'lost', count, base(destination), group(name))) as number,
    async list(destination, name, { signal, limit }) {
      const all = (await connection.persist(signal, 'lost', numbers, base(destination), group(name), limit)) as string[]
      const letters: DeadLetter[] = []
      for (let at = 0; at < all.length; at += pageSize) {
        const page = all.slice(at, at + pageSize)
        const rows = (await connection.persist(signal, 'lost', read, base(destination), group(name), ...page)) as Row[]
        letters.push(...rows.map(toDeadLetter))
      }
      return letters
    },
    replay: async (destination, name, ids, { signal }) =>
      (await connection.persist(signal, 'unsent', replay, base(destination), group(name), ...ids)) as number,
    discard: async (destination, name, ids, { signal }) =>
      (await connection.persist(signal, 'unsent', discard, base(destination), group(name), ...ids)) as number,
    async release(destination, name, key, { signal }) {
      const found = await connection.persist(signal, 'unsent', releaseKey, base(destination), group(name), key)
      if (found !== 1) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
    },
  }
}

function toDeadLetter([number, record, death, diedAt, replays, parked]: Row): DeadLetter {
  const { reason, attempt } = JSON.parse(death) as { reason: string; attempt: number }
  const envelope = parseRecord(record)
  return {
    id: envelope?.id ?? number,
    key: envelope?.key,
    body: envelope?.body ?? record,
    headers: envelope?.headers ?? {},
    publishedAt: new Date(envelope?.publishedAt ?? 0),
    attempt,
    reason,
    deadAt: new Date(Number(diedAt)),
    replays,
    parked: parked === 1,
  }
}
