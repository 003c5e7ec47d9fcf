const patienceMs = 2_000

/** A broker that does not answer must not hold a close: its side ends with the connection. */
export async function inTime(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, patienceMs)
  })
  await Promise.race([
    work.then(
      () => {},
      () => {},
    ),
    timeout,
  ])
  clearTimeout(timer)
}
