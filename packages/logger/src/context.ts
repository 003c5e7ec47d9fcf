import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import { type Fields, Layer } from './layer.ts'
import { carryInto, leaveRequestsAlone } from './request-events.ts'

/** Runs a request inside a context; the shape that servers and brokers take. */
export type InboundHook = <T>(
  request: {
    method: string
    url: string
    headers: Record<string, string | string[] | undefined>
    /** Whether whoever calls the hook sees to it that the events of the request run in its context. */
    carriesContext?: boolean
  },
  run: () => T,
) => T

/** Fields of the work in progress. */
const storage = new AsyncLocalStorage<Layer>()
const requestId = /^[\w.:/+=@-]{1,128}$/

/** Puts fields on every line that is logged inside `run`, also after an await. Inner fields win over outer ones. */
export function withLogContext<T>(fields: object, run: () => T): T {
  const outer = storage.getStore()?.fields
  let merged: Fields
  try {
    merged = { ...outer, ...fields }
  } catch {
    merged = { ...outer } // a getter that throws costs the fields, not the work
  }
  return storage.run(new Layer(merged, undefined, true), run)
}

/** The same fields for the events of a request of node:http, which come from the connection. */
function withinEvents(headers: object): void {
  const context = storage.getStore()
  if (context !== undefined) carryInto(headers, (run) => storage.run(context, run))
}

/** Puts `request_id`, `method` and `path` (without the query) on every line of a request, also of its events. The id is `x-request-id` or a new one. */
export const logContextHook: InboundHook = (request, run) => {
  const given = request.headers['x-request-id']
  const isGiven = typeof given === 'string' && requestId.test(given)
  const own = { request_id: isGiven ? given : randomUUID(), method: request.method, path: pathOf(request.url) }
  const outer = storage.getStore()?.fields
  const layer = new Layer(outer === undefined ? own : { ...outer, ...own }, undefined, true)
  if (request.carriesContext === true) {
    leaveRequestsAlone()
    return storage.run(layer, run)
  }
  return storage.run(layer, () => {
    withinEvents(request.headers)
    return run()
  })
}

function pathOf(url: string): string {
  const query = url.indexOf('?')
  const path = query < 0 ? url : url.slice(0, query)
  const fragment = path.indexOf('#')
  return fragment < 0 ? path : path.slice(0, fragment)
}

export function currentContext(): Layer | undefined {
  return storage.getStore()
}
