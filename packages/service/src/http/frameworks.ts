import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyPluginCallback } from 'fastify'
import { type InboundHook, inboundRequest, ROUTE, runInbound } from './inbound.ts'

/**
 * The hooks for a Fastify instance that listens by itself, and, with an empty list, the route templates for `httpServer(app.server, …)`.
 * Register it before routes and plugins.
 */
export function fastifyInbound(hooks: readonly InboundHook[]): FastifyPluginCallback {
  const list = [...hooks]
  const plugin: FastifyPluginCallback = (instance, _options, registered) => {
    instance.addHook('onRequest', (request, reply, next) => {
      const raw = request.raw as IncomingMessage & { [ROUTE]?: unknown }
      raw[ROUTE] = request.routeOptions.url
      if (list.length === 0) next()
      else runInbound(list, inboundRequest(raw, reply.raw, false), next)
    })
    registered()
  }
  // Hooks of a plugin stay inside it unless it says this; fastify-plugin does the same.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true })
}

/** The hooks as Express middleware; use it before everything else. */
export function expressInbound(
  hooks: readonly InboundHook[],
): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
  const list = [...hooks]
  return (request, response, next) => runInbound(list, inboundRequest(request, response, false), () => next())
}
