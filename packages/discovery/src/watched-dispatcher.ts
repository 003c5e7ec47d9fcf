import type { Dispatcher } from 'undici'

/** Tells once when the answer has come to its end on the wire, was cut, or will not come: until then the instance is busy with it. */
export function watchedDispatcher(dispatcher: Dispatcher, onEnd: () => void): Dispatcher {
  const dispatch = (options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean => {
    const watched = Object.create(handler, {
      onResponseEnd: {
        value(this: Dispatcher.DispatchHandler, ...args: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseEnd']>>) {
          onEnd()
          return handler.onResponseEnd?.apply(this, args)
        },
      },
      onResponseError: {
        value(this: Dispatcher.DispatchHandler, ...args: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseError']>>) {
          onEnd()
          return handler.onResponseError?.apply(this, args)
        },
      },
    }) as Dispatcher.DispatchHandler
    return dispatcher.dispatch(options, watched)
  }
  return { dispatch } as unknown as Dispatcher
}
