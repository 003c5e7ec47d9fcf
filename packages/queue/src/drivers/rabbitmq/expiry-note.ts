import { namePattern } from '../../validation.ts'
import type { WireMessage } from './wire.ts'

/** Asks, when its time is over, whether a group still has members. */
export interface ExpiryNote {
  readonly destination: string
  readonly group: string
  readonly expiresAfterMs: number
  /** How many looks in a row have found nobody. */
  readonly absent: number
}

const destinationPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/

export function noteToWire(note: ExpiryNote, waitMs: number): WireMessage {
  return { content: Buffer.from(JSON.stringify(note)), options: { persistent: true, expiration: String(waitMs) } }
}

/** `undefined` for what is no note of ours. */
export function parseNote(content: Buffer): ExpiryNote | undefined {
  let value: unknown
  try {
    value = JSON.parse(content.toString())
  } catch {
    return undefined
  }
  const { destination, group, expiresAfterMs, absent } = (value ?? {}) as Record<string, unknown>
  const isCount = (each: unknown): each is number => typeof each === 'number' && Number.isSafeInteger(each) && each >= 0
  if (typeof destination !== 'string' || !destinationPattern.test(destination)) return undefined
  if (typeof group !== 'string' || !namePattern.test(group)) return undefined
  return isCount(expiresAfterMs) && isCount(absent) ? { destination, group, expiresAfterMs, absent } : undefined
}
