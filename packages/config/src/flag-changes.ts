import { same } from './compare.ts'

/** Names of flags that are other ones, new or gone. */
export function changedKeys(before: Record<string, unknown> = {}, after: Record<string, unknown> = {}): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => !same(before[key], after[key]))
}
