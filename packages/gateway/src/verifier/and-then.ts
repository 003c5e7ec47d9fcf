/** Goes on at once where nobody has to be waited for: most verdicts come from memory. */
export function andThen<T, R>(value: T | Promise<T>, following: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(following) : following(value)
}
