import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common'
import type { HttpAdapterHost } from '@nestjs/core'
import type { LoggerLike } from './logger-like.ts'
import { toProblem } from './problem.ts'

/**
 * Every error of an HTTP handler as `application/problem+json`. A status of 500 and more is an error in the log, with its cause; below, the
 * client is wrong, and the log has it at debug.
 */
export class ProblemFilter implements ExceptionFilter {
  readonly #host: HttpAdapterHost
  readonly #logger: LoggerLike | undefined

  constructor(options: { host: HttpAdapterHost; logger?: LoggerLike | undefined }) {
    this.#host = options.host
    this.#logger = options.logger
  }

  catch(error: unknown, host: ArgumentsHost): void {
    // Messages and sockets have no status to answer with.
    if (host.getType() !== 'http') throw error
    const problem = toProblem(error)
    const { httpAdapter } = this.#host
    const request: unknown = host.getArgByIndex(0)
    const response: unknown = host.getArgByIndex(1)
    const fields = { err: error, status: problem.status, method: httpAdapter.getRequestMethod?.(request) }
    if (problem.status >= 500) this.#logger?.error(fields, 'request failed')
    else this.#logger?.debug(fields, 'request refused')

    if (httpAdapter.isHeadersSent(response)) {
      // Half an answer must not look like a whole one.
      const { socket } = response as { socket?: { destroy(): void } | null }
      socket?.destroy()
      return
    }
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json')
    httpAdapter.reply(response, problem, problem.status)
  }
}
