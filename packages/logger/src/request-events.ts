import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'

interface Exchange {
  readonly request: EventEmitter & { readonly headers: object }
  readonly response: EventEmitter
}

// Events of a request and its response come from the connection, not from the handler, and know nothing of what was set up in it. A hook is handed
// the facts of a request only; its headers, which node:http makes once, lead back to the two. By a member that no copy takes along: a WeakMap with an
// entry for each request costs the garbage collector half of what the request does.
const exchangeOf: unique symbol = Symbol('platform.logger.exchange') as never
type Headers = object & { [exchangeOf]?: Exchange }
const channel = 'http.server.request.start'
/**
 * waiting: no logger yet. listening: it may be needed. left: the server carries the context itself, so no request pays for this. needed: it is, for
 * good.
 */
let stage: 'waiting' | 'listening' | 'left' | 'needed' = 'waiting'

/** From now on, requests that arrive can be found by their headers. */
export function listenForRequests(): void {
  if (stage !== 'waiting') return
  stage = 'listening'
  subscribe(channel, remember)
}

export function leaveRequestsAlone(): void {
  if (stage !== 'listening') return
  stage = 'left'
  unsubscribe(channel, remember)
}

function remember(message: unknown): void {
  const exchange = message as Exchange
  Object.defineProperty(exchange.request.headers, exchangeOf, { value: exchange, configurable: true })
}

/** Runs the listeners of the request's and the response's events inside `within`. */
export function carryInto(headers: Headers, within: <T>(run: () => T) => T): void {
  if (stage === 'left' || stage === 'waiting') subscribe(channel, remember)
  stage = 'needed'
  const { [exchangeOf]: exchange } = headers
  if (exchange === undefined) return
  for (const emitter of [exchange.request, exchange.response]) {
    const emit = emitter.emit
    emitter.emit = function (this: EventEmitter, ...args: Parameters<EventEmitter['emit']>) {
      return within(() => emit.apply(this, args))
    }
  }
}
