import { AsyncResource } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'
import { type InboundHook, inboundRequest, runInbound } from './inbound.ts'

type Emit = (event: string | symbol, ...args: unknown[]) => boolean

/** What comes in, before any listener of the server hears of it. */
export interface Incoming {
  /** False: the request is not handled. */
  request(request: IncomingMessage, response: ServerResponse): boolean
  stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void
  upgrade(request: IncomingMessage, socket: Duplex): void
  hookFailed(error: unknown): void
}

const entered: unique symbol = Symbol('platform.http.entered') as never
type Entered = IncomingMessage & { [entered]?: true }

const requestEvents: ReadonlySet<string | symbol> = new Set(['request', 'checkContinue', 'checkExpectation'])

/**
 * Sees everything before a server's listeners do, whenever they were added. `emit` is the one seam that node:http, node:https and node:http2
 * share; it is replaced on this one object and given back by the function returned.
 */
export function enterHooks(server: Server, hooks: readonly InboundHook[], incoming: Incoming): () => void {
  const target = server as EventEmitter as { emit: Emit }
  const original = target.emit
  const owned = Object.hasOwn(target, 'emit')

  const entering: Emit = function (this: unknown, event, ...args) {
    if (event === 'stream') incoming.stream(args[0] as ServerHttp2Stream, args[1] as IncomingHttpHeaders)
    if (event === 'upgrade') incoming.upgrade(args[0] as IncomingMessage, args[1] as Duplex)
    if (!requestEvents.has(event)) return original.call(server, event, ...args)
    const [request, response] = args as [Entered, ServerResponse]
    // A `checkContinue` listener passes its request on as a `request` event.
    if (request[entered]) return original.call(server, event, ...args)
    request[entered] = true
    if (!incoming.request(request, response)) return true
    if (hooks.length === 0) return original.call(server, event, ...args)
    let isInside = false
    try {
      return runInbound(hooks, inboundRequest(request, response, true), () => {
        isInside = true
        const context = new AsyncResource('PlatformInbound', { requireManualDestroy: true })
        keepContext(request, context)
        keepContext(response, context)
        return original.call(server, event, ...args)
      })
    } catch (error) {
      if (isInside) throw error
      incoming.hookFailed(error)
      response.statusCode = 500
      response.end()
      return true
    }
  }
  target.emit = entering
  return () => {
    if (target.emit !== entering) return
    if (owned) target.emit = original
    else delete (target as { emit?: Emit }).emit
  }
}

/** `data`, `end`, `close` are emitted by the parser and the socket, outside of the request's context; their listeners belong inside. */
function keepContext(emitter: Kept, context: AsyncResource): void {
  const { emit } = emitter as { emit: Emit }
  if (emit === emitInContext) return
  if (emit !== EventEmitter.prototype.emit) emitter[emitOf] = emit
  emitter[contextOf] = context
  emitter.emit = emitInContext as Kept['emit']
}

const contextOf: unique symbol = Symbol('platform.http.context') as never
/** One that is not everybody's. */
const emitOf: unique symbol = Symbol('platform.http.emit') as never
type Kept = EventEmitter & { [contextOf]?: AsyncResource; [emitOf]?: Emit }

function emitInContext(this: Kept, event: string | symbol, ...args: unknown[]): boolean {
  const emit = this[emitOf] ?? (EventEmitter.prototype.emit as Emit)
  // Most events have no listener.
  if (this.listenerCount(event) === 0) return emit.call(this, event, ...args)
  return this[contextOf]!.runInAsyncScope(emit, this, event, ...args)
}
