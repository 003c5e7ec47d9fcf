import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common'
import type { HttpAdapterHost } from '@nestjs/core'
import { guarded } from '@platform/kernel'
import type { LoggerLike } from './logger-like.ts'
import { toProblem } from './problem.ts'

/**
 * Every error of an HTTP handler that no other filter takes, as `application/problem+json`. A status of 500 and more is an error in the log,
 * with its cause; below, the client is wrong, and the log has it at debug. `PlatformModule` registers it behind every filter of the
 * application; registered by hand it takes its place among them.
 */
export class ProblemFilter implements ExceptionFilter {
  readonly #host: HttpAdapterHost
  readonly #logger: LoggerLike | undefined

  constructor(options: { host: HttpAdapterHost; logger?: LoggerLike | undefined }) {
    this.#host = options.host
    this.#logger = options.logger
  }

  /** Nest takes no answer for "not mine": the callers of microservices and GraphQL get what Nest itself would give them. */
  catch(error: unknown, host: ArgumentsHost): void {
    if (host.getType() === 'http') this.answer(error, host.getArgByIndex(0), host.getArgByIndex(1))
  }

  /** The same for a request that Nest did not route. */
  answer(error: unknown, request: unknown, response: unknown): void {
    const problem = toProblem(error)
    const { httpAdapter } = this.#host
    const fields = { err: error, status: problem.status, method: httpAdapter.getRequestMethod?.(request) }
    if (problem.status >= 500) guarded(() => this.#logger?.error(fields, 'request failed'))
    else guarded(() => this.#logger?.debug(fields, 'request refused'))

    if (httpAdapter.isHeadersSent(response)) {
      // Half an answer must not look like a whole one. Fastify's reply keeps node's response in `raw`.
      const { raw = response } = response as { raw?: unknown }
      const { socket } = raw as { socket?: { destroy(): void } | null }
      socket?.destroy()
      return
    }
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json')
    httpAdapter.reply(response, problem, problem.status)
  }
}
