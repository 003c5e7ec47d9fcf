import type { LoggerService } from '@nestjs/common'
import { safeLogger } from '@platform/kernel'
import type { LoggerLike } from './logger-like.ts'

/**
 * Nest's own lines in the service's log: `NestFactory.create(AppModule, { logger: nestLogger(logger) })`. Nest passes its context as the last
 * argument, and a stack before it for errors; both become fields. What the logger throws is dropped: Nest calls it wherever it is.
 */
export function nestLogger(logger: LoggerLike): LoggerService {
  const safe = safeLogger(logger)
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: unknown, ...rest: unknown[]): void => {
      const context = rest.length > 0 && typeof rest.at(-1) === 'string' ? rest.at(-1) : undefined
      const more = context === undefined ? rest : rest.slice(0, -1)
      const fields: Record<string, unknown> = context === undefined ? {} : { context }
      if (message instanceof Error) fields['err'] = message
      const stack = more.find((one) => typeof one === 'string' && one.includes('\n    at '))
      if (stack !== undefined) fields['stack'] = stack
      const details = more.filter((one) => one !== stack && one !== undefined)
      if (details.length > 0) fields['details'] = details
      if (Array.isArray(message)) safe[level]({ ...fields, details: [...message, ...details] })
      else if (typeof message === 'object' && message !== null && !(message instanceof Error)) safe[level]({ ...fields, ...message })
      else safe[level](fields, message instanceof Error ? message.message : String(message))
    }
  return { log: at('info'), error: at('error'), warn: at('warn'), debug: at('debug'), verbose: at('debug'), fatal: at('error') }
}
