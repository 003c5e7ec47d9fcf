import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('./redis-client.fixture.ts', import.meta.url))

export interface SharedRun {
  readonly admitted: number
  readonly elapsedMs: number
  /** Most that were admitted within any second. */
  readonly mostInASecond: number
}

/** Four processes, their wall clocks 5 s apart, all asking for more than 100/s with a burst of 20. */
export async function runFourProcesses(url: string, durationMs: number): Promise<SharedRun> {
  const key = `four-${process.hrtime.bigint()}`
  const processes = [0, 5000, 10_000, 15_000].map((offsetMs) =>
    fork(program, [url, key, String(durationMs), String(offsetMs)], { execArgv: ['--conditions=@platform/source'] }),
  )
  try {
    await Promise.all(processes.map((each) => once(each, 'message')))
    const results = processes.map(async (each) => (await once(each, 'message'))[0] as number[])
    for (const each of processes) each.send('start')
    const times = (await Promise.all(results)).flat().toSorted((a, b) => a - b)
    let mostInASecond = 0
    for (let from = 0, to = 0; to < times.length; to++) {
      while (times[to]! - times[from]! >= 1000) from++
      mostInASecond = Math.max(mostInASecond, to - from + 1)
    }
    return { admitted: times.length, elapsedMs: times.at(-1)! - times[0]!, mostInASecond }
  } finally {
    for (const each of processes) each.kill('SIGKILL')
  }
}
