import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { durationOption, knownOptions, settlesWithin, withDeadline } from '@platform/kernel'
import { currentContext } from '../context.ts'
import { LoggerError } from '../errors.ts'
import { activeSpan } from '../instrumentation.ts'
import { must, type RedactOptions, refuse, resolveRedaction } from '../options.ts'
import { Redaction } from '../redaction/redaction.ts'
import { type AuditEvent, checkedEvent } from './audit-event.ts'
import { AuditFile } from './audit-file.ts'

export interface AuditLogOptions {
  /** Of the program; in every record. 1 to 100 characters. */
  name: string
  /** The file that records are appended to; its folder exists. Made readable for its owner only. */
  path: string
  /** Takes live secrets out of the texts of a record, as for a logger. */
  redact?: RedactOptions | undefined
  /** How long a record may take to be on the disk, in milliseconds. Default 5,000, range 1 to 600,000. */
  timeoutMs?: number | undefined
}

/** Says who did what to what, durably. Neither level nor sampling nor a full buffer drops a record: what cannot be kept is told to its caller. */
export interface AuditLog {
  /**
   * Resolves once the record is on the disk. Rejects with `ERR_LOGGER_AUDIT_EVENT` for an event that does not fit the schema, and with
   * `ERR_LOGGER_AUDIT_NOT_WRITTEN` when it is not known to be there: the action must not be done, or must be undone.
   */
  record(event: AuditEvent, options?: { signal?: AbortSignal | undefined }): Promise<void>
  /** Rejects when the file cannot be opened. */
  ready(): Promise<void>
  /** Writes what waits, at most `timeoutMs` (default 5,000), and closes the file. Later records are refused. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

interface Waiting {
  readonly line: string
  readonly stored: PromiseWithResolvers<void>
}

const mostWaiting = 10_000

export function createAuditLog(options: AuditLogOptions): AuditLog {
  knownOptions(refuse, '', options, ['name', 'path', 'redact', 'timeoutMs'])
  const { name, path, redact = {} } = options
  must(typeof name === 'string' && name.length > 0 && name.length <= 100, 'name', 'a text of 1 to 100 characters')
  must(typeof path === 'string' && path !== '', 'path', 'the path of a file')
  const timeoutMs = durationOption(refuse, 'timeoutMs', options.timeoutMs ?? 5_000, 1, 600_000)
  const redaction = new Redaction(resolveRedaction(redact))
  const file = new AuditFile(path)
  const host = hostname()
  let waiting: Waiting[] = []
  let working: Promise<void> | undefined
  let isClosed = false

  function lineOf(event: AuditEvent): string {
    redaction.refresh()
    const hidden = (text: string) => redaction.text(text)
    const party = ({ type, id }: AuditEvent['actor']) => ({ type: hidden(type), id: hidden(id) })
    const { actor, action, target, outcome, reason } = checkedEvent(event)
    const requestId = currentContext()?.fields['request_id']
    const span = activeSpan()
    const record = {
      time: new Date().toISOString(),
      id: randomUUID(),
      service: name,
      host,
      pid: process.pid,
      actor: party(actor),
      action: hidden(action),
      target: party(target),
      outcome,
      ...(reason === undefined ? {} : { reason: hidden(reason) }),
      ...(typeof requestId === 'string' ? { request_id: hidden(requestId) } : {}),
      ...(span === undefined ? {} : { trace_id: span.traceId, span_id: span.spanId }),
    }
    return `${JSON.stringify(record)}\n`
  }

  /** All that waits in one write: many actions at once wait for the disk once. */
  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        await file.append(batch.map(({ line }) => line).join(''))
        for (const { stored } of batch) stored.resolve()
      } catch (error) {
        for (const { stored } of batch) stored.reject(notWritten('the file did not take it', error))
      }
    }
    // In the same turn as the last look: what waits from now on begins anew.
    working = undefined
  }

  return {
    async record(event, { signal } = {}) {
      const line = lineOf(event)
      if (isClosed) throw notWritten('the audit log is closed')
      if (waiting.length >= mostWaiting) throw notWritten('too many records wait for the disk')
      const late = () => notWritten(`it was not on the disk within ${timeoutMs} ms, and may still come there`)
      const keep = (): Promise<void> => {
        const stored = Promise.withResolvers<void>()
        waiting.push({ line, stored })
        working ??= writeAll()
        return stored.promise
      }
      await withDeadline(timeoutMs, late, keep, signal)
    },
    async ready() {
      await file.open().catch((error: unknown) => {
        throw notWritten('the file cannot be opened', error)
      })
    },
    async close({ timeoutMs: closeMs = 5_000 } = {}) {
      isClosed = true
      // A write that hangs holds the file; it is left to it.
      if (working === undefined || (await settlesWithin(working, closeMs))) await file.close()
    },
    [Symbol.asyncDispose]() {
      return this.close()
    },
  }
}

function notWritten(problem: string, cause?: unknown): LoggerError {
  return new LoggerError('ERR_LOGGER_AUDIT_NOT_WRITTEN', `audit record: ${problem}`, cause === undefined ? undefined : { cause })
}
