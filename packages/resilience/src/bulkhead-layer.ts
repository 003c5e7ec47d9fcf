import type { Bulkhead, Slot } from './bulkhead.ts'
import type { Call, Next } from './call.ts'

export function bulkheadLayer(bulkhead: Bulkhead, next: Next): Next {
  const queued = async (call: Call, slot: Promise<Slot>): Promise<unknown> => {
    call.slot = await slot
    return next(call)
  }
  return (call) => {
    const slot = bulkhead.acquire(call)
    if (slot instanceof Promise) return queued(call, slot)
    call.slot = slot
    return next(call)
  }
}
