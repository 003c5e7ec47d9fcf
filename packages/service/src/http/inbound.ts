import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'

/** What a hook sees of a request. A hook that wants no more than method, url and headers fits as well. */
export interface InboundRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** The answer: `statusCode`, `once('close')`. Hooks read it and never write to it. */
  readonly response: ServerResponse
  /** The route's template (`/films/:id`) once a framework has found it; undefined before that, for node:http, and when nothing matched. */
  route(): string | undefined
  /** Whether the events of the request and the response run in the context of the hooks without their doing. */
  readonly carriesContext: boolean
}

/** Runs a request inside a context. Must call `run` once, synchronously, and return its result. */
export type InboundHook = <T>(request: InboundRequest, run: () => T) => T

/** Where a framework adapter leaves the route's template on the IncomingMessage: a string, or a function that returns one. */
export const ROUTE: unique symbol = Symbol.for('platform.http.route') as never

export function runInbound<T>(hooks: readonly InboundHook[], request: InboundRequest, run: () => T): T {
  const enter = (index: number): T => {
    const hook = hooks[index]
    return hook ? hook(request, () => enter(index + 1)) : run()
  }
  return enter(0)
}

export function inboundRequest(request: IncomingMessage, response: ServerResponse, carriesContext: boolean): InboundRequest {
  return {
    method: request.method ?? 'GET',
    // Frameworks rewrite `url` while they route.
    url: request.url ?? '/',
    headers: request.headers,
    response,
    route: () => routeOf(request),
    carriesContext,
  }
}

function routeOf(request: IncomingMessage & { [ROUTE]?: unknown; route?: unknown; baseUrl?: unknown }): string | undefined {
  const marked = typeof request[ROUTE] === 'function' ? (request[ROUTE] as () => unknown)() : request[ROUTE]
  if (typeof marked === 'string') return marked
  // Express and Nest on Express leave the matched layer on the same object.
  const path = (request.route as { path?: unknown } | undefined)?.path
  return typeof path === 'string' ? `${typeof request.baseUrl === 'string' ? request.baseUrl : ''}${path}` : undefined
}
