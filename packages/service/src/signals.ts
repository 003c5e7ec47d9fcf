import { backgroundTimeout, longestTimerMs } from '@platform/kernel'
import { takeEarlySignal } from './early-signals.ts'
import { ServiceError } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'
import { onOutputLoss } from './output-loss.ts'
import type { StopReport } from './stop.ts'

interface Stoppable {
  start(): Promise<void>
  /** Resolves when a stop begins, whoever asked for it: a signal, or the program. */
  readonly stopBegan: Promise<void>
  /** When it did, on the clock of performance.now(); undefined before. */
  readonly stopBeganAt: number | undefined
  stop(reason: string): Promise<StopReport>
  stopFast(reason: string): Promise<StopReport>
  /** Asks the components that can to read their settings again. */
  reload(): void
}

/** Further uncaught errors that are logged one by one; more of them are most likely one fault that feeds itself. */
const loggedCrashes = 10

/**
 * First SIGTERM or SIGINT, also one from before `run()`: graceful stop. Second: fast. Third: the process ends at once with 1. SIGHUP reloads,
 * once the start is over, and never ends anything. An uncaught exception or an unhandled rejection is logged and stops fast, an output that
 * nobody reads stops gracefully; the exit code is then 1. After a stop the process is left to end by itself; if something still holds it when
 * the grace period is over, what holds it is logged and the process is ended with 1.
 */
export async function runUntilSignal(
  service: Stoppable,
  { logger, gracePeriodMs }: { logger: LoggerLike; gracePeriodMs: number },
): Promise<void> {
  let signals = 0
  let crashes = 0
  let crash: { error: unknown } | undefined

  const onSignal = (signal: NodeJS.Signals): void => {
    signals += 1
    if (signals === 1) {
      logger.info({ signal }, 'signal: stopping gracefully')
      void service.stop(signal)
    } else if (signals === 2) {
      logger.warn({ signal }, 'second signal: stopping fast')
      void service.stopFast(signal)
    } else {
      logger.error({ signal }, 'third signal: exit now')
      process.exit(1)
    }
  }
  const onHangup = (): void => {
    if (service.stopBeganAt === undefined)
      void service.start().then(
        () => service.reload(),
        () => {},
      )
    else logger.info({ signal: 'SIGHUP' }, 'signal ignored: the service stops')
  }
  const onCrash = (error: unknown): void => {
    process.exitCode = 1
    crashes += 1
    if (crash) {
      if (crashes <= loggedCrashes) logger.error({ err: error }, 'another uncaught error while stopping')
      return
    }
    crash = { error }
    logger.error({ err: error }, 'uncaught error: stopping fast')
    void service.stopFast('uncaught error')
  }
  const handlers = { SIGTERM: onSignal, SIGINT: onSignal, SIGHUP: onHangup, uncaughtException: onCrash, unhandledRejection: onCrash }
  for (const [event, handler] of Object.entries(handlers)) process.on(event, handler)
  onOutputLoss({
    gone(stream, error) {
      process.exitCode = 1
      logger.error({ err: error, stream }, 'nobody reads the output any more: stopping gracefully')
      void service.stop(`${stream} closed`)
    },
    full: (stream, error) => logger.error({ err: error, stream }, 'output is lost: there is no room for it'),
  })
  const early = takeEarlySignal()
  if (early) handlers[early](early)
  // Without this a service whose components hold nothing would end before its signal.
  const hold = setInterval(() => {}, longestTimerMs)

  try {
    try {
      await service.start()
      await service.stopBegan
    } catch (error) {
      if (service.stopBeganAt === undefined) throw error
    }
    const report = await service.stop('stopped')
    if (crash) throw new ServiceError('ERR_SERVICE_CRASHED', 'an uncaught error ended the service', { cause: crash.error })
    if (report.cut.length + report.failed.length > 0) process.exitCode = 1
  } finally {
    clearInterval(hold)
    // SIGHUP alone stays: it must not kill what is left to do.
    for (const [event, handler] of Object.entries(handlers)) if (event !== 'SIGHUP') process.removeListener(event, handler)
    const spentMs = performance.now() - (service.stopBeganAt ?? performance.now())
    backgroundTimeout(
      () => {
        logger.error({ holds: process.getActiveResourcesInfo() }, 'the service has stopped, but something holds the process')
        process.exit(1)
      },
      Math.max(500, gracePeriodMs * 0.95 - spentMs),
    )
  }
}
