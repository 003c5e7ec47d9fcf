/** At most so many runs at once, first come, first served: health must never become the load. */
export interface Slots {
  /** Resolves to the release, which may be called again; at once when the signal aborts, whether there is room or not. */
  take(signal: AbortSignal): Promise<() => void>
}

export function createSlots(size: number): Slots {
  let free = size
  const waiting = new Set<() => void>()

  const release = (): void => {
    const [next] = waiting
    if (next) next()
    else free += 1
  }
  const once = (): (() => void) => {
    let given = true
    return () => {
      if (given) release()
      given = false
    }
  }

  return {
    take(signal) {
      if (free > 0) {
        free -= 1
        return Promise.resolve(once())
      }
      if (signal.aborted) return Promise.resolve(() => {})
      return new Promise((resolve) => {
        const left = (): void => {
          waiting.delete(entered)
          resolve(() => {})
        }
        const entered = (): void => {
          waiting.delete(entered)
          signal.removeEventListener('abort', left)
          resolve(once())
        }
        waiting.add(entered)
        signal.addEventListener('abort', left, { once: true })
      })
    },
  }
}
