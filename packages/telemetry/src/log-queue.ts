import { channel } from 'node:diagnostics_channel'
import type { Attributes } from '@opentelemetry/api'
import { ExportQueue, type ExportStats } from './export-queue.ts'
import type { LoggerLike } from './options.ts'
import { keyValues, logRecord } from './log-record.ts'
import type { OtlpSender } from './otlp-sender.ts'

/** Where `@platform/logger` tells each line that it has written, as a text and redacted. */
const lines = 'platform.logger.line'

/** The lines of this process's loggers, sent to a collector as well. What is lost here stands in the pipe all the same. */
export class LogQueue {
  readonly #queue: ExportQueue<string>
  readonly #onLine = (line: unknown): void => {
    if (typeof line === 'string') this.#queue.add(line, line.length)
  }

  constructor(sender: OtlpSender, logger: LoggerLike | undefined, resource: Attributes) {
    const serialize = (batch: readonly string[]) => bodyOf(batch, resource)
    this.#queue = new ExportQueue({ what: 'log records', sender, serialize, logger })
    channel(lines).subscribe(this.#onLine)
  }

  stats(): ExportStats {
    return this.#queue.stats()
  }

  close(timeoutMs: number): Promise<void> {
    channel(lines).unsubscribe(this.#onLine)
    return this.#queue.close(timeoutMs)
  }
}

/** https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding */
function bodyOf(batch: readonly string[], resource: Attributes): Uint8Array {
  const observedTimeUnixNano = `${BigInt(Date.now()) * 1_000_000n}`
  const logRecords = batch.map((line) => logRecord(line, observedTimeUnixNano))
  const scopeLogs = [{ scope: { name: '@platform/logger' }, logRecords }]
  return Buffer.from(JSON.stringify({ resourceLogs: [{ resource: { attributes: keyValues(Object.entries(resource)) }, scopeLogs }] }))
}
