import { guarded } from '@platform/kernel'
import { countEvent } from './instrumentation.ts'
import type { LoggerLike } from './logger-like.ts'
import type { StartedComponent } from './start.ts'
import type { StopReport } from './stop.ts'

/** What happens to a service. Each is logged and counted, then told to `onEvent`. */
export type ServiceEvent =
  /** One for each process: a deployment is seen by it. */
  | { readonly type: 'starting'; readonly version: string | undefined }
  /** `criticalPath`: whom the start waited for, level by level. */
  | { readonly type: 'ready'; readonly durationMs: number; readonly criticalPath: readonly StartedComponent[] }
  | { readonly type: 'start-failed'; readonly error: unknown }
  /** A critical check fails although the service runs; `ready-again` when none does any more. */
  | { readonly type: 'not-ready'; readonly failing: readonly string[] }
  | { readonly type: 'ready-again' }
  /** The event loop stood still; where, as far as the watchdog could see. */
  | { readonly type: 'stalled'; readonly durationMs: number; readonly stack: readonly string[] }
  | { readonly type: 'draining'; readonly reason: string }
  | { readonly type: 'stopped'; readonly report: StopReport }
  /** A component with `onReload` applied new settings, or did not. */
  | { readonly type: 'reloaded'; readonly component: string; readonly revision: unknown; readonly changed: unknown }
  | { readonly type: 'reload-refused'; readonly component: string; readonly outcome: unknown; readonly error: unknown }

const wording: Record<ServiceEvent['type'], readonly ['info' | 'warn' | 'error', string]> = {
  starting: ['info', 'service starts'],
  ready: ['info', 'service is ready'],
  'start-failed': ['error', 'service did not start'],
  'not-ready': ['warn', 'service is not ready any more'],
  'ready-again': ['info', 'service is ready again'],
  stalled: ['warn', 'the event loop stood still'],
  draining: ['info', 'service stops'],
  stopped: ['info', 'service stopped'],
  reloaded: ['info', 'settings reloaded'],
  'reload-refused': ['warn', 'settings not reloaded'],
}

export type Tell = (event: ServiceEvent) => void

export function createTell(service: string, logger: LoggerLike, onEvent: ((event: ServiceEvent) => void) | undefined): Tell {
  return (event) => {
    const { type, ...facts } = event
    const [level, text] = wording[type]
    if (event.type === 'stopped') logStopped(service, logger, event.report)
    else logger[level]({ service, ...facts, ...('error' in event ? { error: undefined, err: event.error } : {}) }, text)
    countEvent(type)
    guarded(
      () => onEvent?.(event),
      (error) => logger.error({ service, err: error }, 'onEvent failed'),
    )
  }
}

function logStopped(service: string, logger: LoggerLike, report: StopReport): void {
  const fields = { service, ...report, failed: report.failed.map(({ component, phase }) => `${component}: ${phase}`) }
  if (report.cut.length + report.failed.length > 0) logger.warn(fields, 'service stopped, not cleanly')
  else logger.info(fields, 'service stopped')
}
