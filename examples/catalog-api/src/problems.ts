import type { LoggerLike } from '@platform/service'
import type { FastifyError, FastifyInstance } from 'fastify'
import { ZodError } from 'zod'

interface Fault {
  /** Where in the request: a JSON pointer. */
  readonly pointer: string
  readonly message: string
}

/** An answer that the caller can act on, in the form of RFC 9457. */
export class Problem extends Error {
  readonly status: number
  readonly faults: readonly Fault[]
  constructor(status: number, title: string, faults: readonly Fault[] = []) {
    super(title)
    this.status = status
    this.faults = faults
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof ZodError) {
    return new Problem(
      400,
      'Invalid request',
      error.issues.map((issue) => ({ pointer: `#/${issue.path.join('/')}`, message: issue.message })),
    )
  }
  const { statusCode, message } = error as Partial<FastifyError>
  if (statusCode !== undefined && statusCode < 500) return new Problem(statusCode, message ?? 'Invalid request')
  return new Problem(503, 'Temporarily unavailable')
}

/** Every error leaves as application/problem+json; only those that are ours are logged as errors. */
export function answerWithProblems(app: FastifyInstance, logger?: LoggerLike): void {
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error)
    if (problem.status >= 500) logger?.error({ err: error, method: request.method, route: request.routeOptions.url }, 'request failed')
    if (problem.status === 503) void reply.header('retry-after', '1')
    return reply
      .status(problem.status)
      .type('application/problem+json')
      .send({ type: 'about:blank', title: problem.message, status: problem.status, errors: problem.faults })
  })
  app.setNotFoundHandler((request, reply) =>
    reply
      .status(404)
      .type('application/problem+json')
      .send({
        type: 'about:blank',
        title: 'Not found',
        status: 404,
        detail: `nothing is at ${request.method} ${request.url.split('?')[0]}`,
      }),
  )
}
