import type { Traffic } from '@film-store/shopper'
import type { Findings } from './entry.ts'

export function customersServed({ unexpected, views }: Traffic): Findings {
  return { faults: unexpected, detail: `${views.length} pages` }
}

/** Whoever has recorded nothing has proven nothing. */
export function customersCame({ asked, accepted, views, searches, unexpected }: Traffic): Findings {
  const kept = { orders: accepted, pages: views, searches } as const
  const faults = Object.entries(kept).flatMap(([what, records]) => {
    if (!Array.isArray(records) || records.length === 0) return [`no record of ${what}`]
    const wanted = asked?.[what as keyof typeof kept]
    if (records.length === wanted) return []
    // A request that failed is told of, once, among the unexpected answers.
    return records.length + unexpected.length >= (wanted ?? Infinity)
      ? []
      : [`${wanted ?? 'unknown'} ${what} asked for, ${records.length} recorded`]
  })
  return { faults, detail: `${accepted.length} orders, ${views.length} pages, ${searches?.length} searches` }
}

/** Requests that were sent again, as a gateway does, are counted; more than a share of all means that something is always broken. */
export function requestsSentAgain({ requests, passes }: Traffic, share: number): Findings {
  if (passes === undefined || !(requests > 0)) return { faults: ['nobody has counted the requests that were sent again'], detail: '' }
  const causes = Object.entries(passes)
  const again = causes.reduce((sum, [, count]) => sum + count, 0)
  const bound = Math.max(5, Math.ceil(requests * share))
  const told = causes.map(([cause, count]) => `${count} × ${cause}`).join(', ') || 'none'
  return {
    faults: again <= bound ? [] : [`${again} of ${requests} (${told}), and at most ${bound} may be`],
    detail: `${told} of ${requests}`,
  }
}
