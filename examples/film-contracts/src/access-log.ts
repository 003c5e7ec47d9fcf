/** What is seen of a request and its answer: the hooks of `@platform/service/http` have it. */
interface Request {
  readonly response: { readonly statusCode: number; once(event: 'close', listener: () => void): unknown }
  route(): string | undefined
}

interface Logger {
  info(fields: object, message: string): void
}

/** A line for each answered request; method, path and trace stand on it already, by the log's context. */
export function accessLog(logger: Logger): <T>(request: Request, run: () => T) => T {
  return (request, run) => {
    const startedAt = performance.now()
    const { response } = request
    response.once('close', () => {
      const durationMs = Math.round((performance.now() - startedAt) * 10) / 10
      logger.info({ status: response.statusCode, route: request.route(), durationMs }, 'request answered')
    })
    return run()
  }
}
