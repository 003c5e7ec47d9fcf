import { ServiceError } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'
import type { StopReport } from './stop.ts'

interface Stoppable {
  start(): Promise<void>
  stop(reason: string): Promise<StopReport>
  stopFast(reason: string): Promise<StopReport>
}

/**
 * First SIGTERM or SIGINT: graceful stop. Second: fast. Third: the process ends at once with 1. An uncaught exception or an unhandled
 * rejection is logged and stops fast; the exit code is then 1. After a stop the handlers are gone and the process is left to end by itself;
 * if something still holds it when the grace period is over, what holds it is logged and the process is ended with 1.
 */
export async function runUntilSignal(
  service: Stoppable,
  { logger, gracePeriodMs }: { logger: LoggerLike; gracePeriodMs: number },
): Promise<void> {
  let signals = 0
  let crash: { error: unknown } | undefined
  let stopAsked: (() => void) | undefined
  const asked = new Promise<void>((resolve) => {
    stopAsked = resolve
  })
  let askedAt: number | undefined

  const onSignal = (signal: NodeJS.Signals) => {
    signals += 1
    if (signals === 1) {
      askedAt = performance.now()
      logger.info({ signal }, 'signal: stopping gracefully')
      void service.stop(signal)
      stopAsked?.()
    } else if (signals === 2) {
      logger.warn({ signal }, 'second signal: stopping fast')
      void service.stopFast(signal)
    } else {
      logger.error({ signal }, 'third signal: exit now')
      process.exit(1)
    }
  }
  const onCrash = (error: unknown) => {
    process.exitCode = 1
    if (crash) {
      logger.error({ err: error }, 'another uncaught error while stopping')
      return
    }
    askedAt = performance.now()
    crash = { error }
    logger.error({ err: error }, 'uncaught error: stopping fast')
    void service.stopFast('uncaught error')
    stopAsked?.()
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  process.on('uncaughtException', onCrash)
  process.on('unhandledRejection', onCrash)
  // Without this a service whose components hold nothing would end before its signal.
  const hold = setInterval(() => {}, 2 ** 30)

  try {
    try {
      await service.start()
      await asked
    } catch (error) {
      if (!(signals > 0 || crash)) throw error
    }
    const report = await service.stop('stopped')
    if (crash) throw new ServiceError('ERR_SERVICE_CRASHED', 'an uncaught error ended the service', { cause: crash.error })
    if (report.cut.length + report.failed.length > 0) process.exitCode = 1
  } finally {
    clearInterval(hold)
    process.removeListener('SIGTERM', onSignal)
    process.removeListener('SIGINT', onSignal)
    process.removeListener('uncaughtException', onCrash)
    process.removeListener('unhandledRejection', onCrash)
    const leftMs = Math.max(500, gracePeriodMs * 0.95 - (askedAt === undefined ? 0 : performance.now() - askedAt))
    setTimeout(() => {
      logger.error({ holds: process.getActiveResourcesInfo() }, 'the service has stopped, but something holds the process')
      process.exit(1)
    }, leftMs).unref()
  }
}
