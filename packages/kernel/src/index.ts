export { awaitedByMany, orAborted, settlesWithin, withDeadline } from './abort.ts'
export { backoffMs, jittered } from './backoff.ts'
export { guarded, safeLogger } from './guarded.ts'
export { choiceOption, durationOption, functionOption, integerOption, knownOptions, numberOption } from './option-checks.ts'
export { isStorableText } from './text.ts'
export {
  background,
  backgroundInterval,
  backgroundPause,
  backgroundTimeout,
  equalDeadlines,
  longestTimerMs,
  pause,
  timerMs,
} from './timers.ts'
export { allDone, backgroundUpkeep, upkeep } from './upkeep.ts'
