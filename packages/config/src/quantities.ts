import { type ZodType, z } from 'zod'

const milliseconds = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const sizes = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 } as const

/** `'250ms'`, `'5s'`, `'5m'`, `'1h'`, `'1d'`, or a number of milliseconds; arrives as milliseconds. */
export function duration(): ZodType<number> {
  return quantity(milliseconds, 'a duration such as 250ms, 5s, 5m, 1h, 1d, or milliseconds')
}

/** `'64mb'`, `'1gb'` (powers of 1000), `'64mib'` (powers of 1024), or a number of bytes; arrives as bytes. */
export function bytes(): ZodType<number> {
  return quantity(sizes, 'a size such as 512kb, 64mb, 1gb, 64mib, or bytes')
}

function quantity(units: Readonly<Record<string, number>>, expected: string): ZodType<number> {
  return z.union([z.number(), z.string()], { error: expected }).transform((value, context) => {
    const [, amount, unit] = typeof value === 'number' ? ['', String(value), ''] : (/^(\d+(?:\.\d+)?)([a-z]+)$/i.exec(value.trim()) ?? [])
    const factor = unit === '' ? 1 : units[unit?.toLowerCase() ?? '-']
    const total = Number(amount) * (factor ?? Number.NaN)
    if (Number.isSafeInteger(total) && total >= 0) return total
    context.addIssue({ code: 'custom', message: expected })
    return z.NEVER
  })
}
