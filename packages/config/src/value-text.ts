import { guarded } from '@platform/kernel'

/** What a reader is shown of a value; `undefined` for what JSON has no text for (a circle, a function). */
export function jsonText(value: unknown): string | undefined {
  return guarded(
    () => JSON.stringify(value, (_key, held: unknown) => (typeof held === 'bigint' ? String(held) : held)) as string | undefined,
  )
}

/** The text of a variable that gives the value back; `undefined` where none does: `null`, what is no number, half of a character. */
export function variableText(value: unknown): string | undefined {
  if (value === null) return undefined
  if (typeof value === 'string') return value.isWellFormed() ? value : undefined
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return decimalText(value)
  return guarded(() => (value instanceof Date ? value.toISOString() : (JSON.stringify(value) as string | undefined)))
}

/** JavaScript writes 0.000000001 as 1e-9, which is no decimal number. Integers that are not exact are none either. */
function decimalText(value: number): string | undefined {
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) return undefined
  const [mantissa = '', exponent] = String(value).split('e')
  if (exponent === undefined) return mantissa
  const sign = value < 0 ? '-' : ''
  return `${sign}0.${'0'.repeat(-Number(exponent) - 1)}${mantissa.replace(/[-.]/g, '')}`
}
