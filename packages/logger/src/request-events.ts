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
 * waiting: no logger yet. listening: it may be needed. left: servers carry the context themselves, so only the latest request is known, at next to no
 * price; it is the one whose hook runs. needed: some do not, so all are remembered, for good.
 */
let stage: 'waiting' | 'listening' | 'left' | 'needed' = 'waiting'
let latest: Exchange | undefined

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
  subscribe(channel, noticeLatest)
}

function noticeLatest(message: unknown): void {
  latest = message as Exchange
}

function remember(message: unknown): void {
  const exchange = message as Exchange
  Object.defineProperty(exchange.request.headers, exchangeOf, { value: exchange, configurable: true })
}

/** Runs the listeners of the request's and the response's events inside `within`. */
export function carryInto(headers: Headers, within: <T>(run: () => T) => T): void {
  if (stage === 'left' || stage === 'waiting') subscribe(channel, remember)
  if (stage === 'left') unsubscribe(channel, noticeLatest)
  stage = 'needed'
  const exchange = headers[exchangeOf] ?? (latest?.request.headers === headers ? latest : undefined)
  latest = undefined
  if (exchange === undefined) return
  for (const emitter of [exchange.request, exchange.response]) {
    const emit = emitter.emit
    emitter.emit = function (this: EventEmitter, ...args: Parameters<EventEmitter['emit']>) {
      return within(() => emit.apply(this, args))
    }
  }
}
