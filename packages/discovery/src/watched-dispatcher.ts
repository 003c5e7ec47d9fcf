import type { Dispatcher } from 'undici'

type Callback = (this: unknown, ...args: unknown[]) => unknown

/**
 * How a handler hears of the end of an answer: undici's fetch has handlers of the second kind up to version 7. A handler of the one kind must not get
 * a method of the other, by which undici tells them apart.
 */
const endings = [
  ['onResponseEnd', 'onResponseError'],
  ['onComplete', 'onError'],
] as const

/** Tells when the answer has come to its end on the wire, was cut, or will not come: until then the instance is busy with it. */
export function watchedDispatcher(dispatcher: Dispatcher, onEnd: () => void): Dispatcher {
  const dispatch = (options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean => {
    const told = (name: string): PropertyDescriptor => ({
      value(this: unknown, ...args: unknown[]) {
        onEnd()
        return (handler as Record<string, Callback | undefined>)[name]?.apply(this, args)
      },
    })
    const [end, error] = endings['onComplete' in handler ? 1 : 0]
    return dispatcher.dispatch(options, Object.create(handler, { [end]: told(end), [error]: told(error) }) as Dispatcher.DispatchHandler)
  }
  return { dispatch } as unknown as Dispatcher
}
