import { guarded } from '@platform/kernel'
import type { ExpiredGroup } from './driver.ts'
import { createExpiryCounter } from './instrumentation.ts'
import type { ResolvedBrokerOptions } from './options.ts'

/**
 * A time without members is counted in looks. Each adds what has passed since the one before, but no more than this part of the whole: while the
 * server is away nobody looks, so an outage adds a part at most, and members are back before the rest.
 */
export const looksBeforeExpiry = 8

/** Log, metric and the user's function, once a group is gone. */
export function groupExpiryTeller({ driver, logger, onGroupExpired }: ResolvedBrokerOptions): (gone: ExpiredGroup) => void {
  const expired = createExpiryCounter(driver.name)
  return (gone) => {
    logger.warn({ ...gone }, 'the group had no member for as long as it was to stay, and was removed with all that it held')
    expired.add(gone)
    guarded(
      () => onGroupExpired(gone),
      (error) => logger.error({ err: error }, 'onGroupExpired failed'),
    )
  }
}
