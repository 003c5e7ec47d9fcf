import { Agent, request as httpRequest } from 'node:http'

export interface LoadOptions {
  readonly url: string
  readonly path: string
  readonly method: string
  /** Requests a second, on a clock: a slow answer does not slow them. 0: as many as `clients` get answered, one after the other. */
  readonly rate: number
  readonly clients: number
}

export interface Tally {
  readonly answered: number
  /** How often what went wrong: `502 ECONNREFUSED`, `ECONNRESET`. */
  readonly failures: ReadonlyMap<string, number>
  readonly latenciesMs: readonly number[]
}

export interface Load {
  tally(): Tally
  failed(): number
  /** Sends no more; resolves when everything sent has an answer or an error. */
  stop(): Promise<void>
}

const tickMs = 5
/** An answer that does not come is a failure too. */
const answerWithinMs = 30_000

export function startLoad({ url, path, method, rate, clients }: LoadOptions): Load {
  const agent = new Agent({ keepAlive: true })
  const failures = new Map<string, number>()
  const latenciesMs: number[] = []
  const pending = new Set<Promise<void>>()
  let isOver = false

  async function send(): Promise<void> {
    const from = performance.now()
    const problem = await ask(new URL(path, url), method, agent)
    if (problem === undefined) latenciesMs.push(performance.now() - from)
    else failures.set(problem, (failures.get(problem) ?? 0) + 1)
  }
  const start = (work: Promise<void>): void => {
    pending.add(work)
    void work.finally(() => pending.delete(work))
  }

  const from = performance.now()
  let sent = 0
  const clock =
    rate > 0
      ? setInterval(() => {
          for (; sent < ((performance.now() - from) / 1_000) * rate; sent++) start(send())
        }, tickMs)
      : undefined
  async function oneByOne(): Promise<void> {
    while (!isOver) await send()
  }
  if (rate === 0) for (let client = 0; client < clients; client++) start(oneByOne())

  return {
    tally: () => ({ answered: latenciesMs.length, failures, latenciesMs }),
    failed: () => [...failures.values()].reduce((sum, count) => sum + count, 0),
    async stop() {
      isOver = true
      clearInterval(clock)
      await Promise.all(pending)
      agent.destroy()
    },
  }
}

/** Undefined: answered, whatever it said below 500. */
function ask(url: URL, method: string, agent: Agent): Promise<string | undefined> {
  return new Promise((resolve) => {
    const outgoing = httpRequest(url, { method, agent, timeout: answerWithinMs }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        if (text.length < 40) text += piece
      })
      const { statusCode = 0 } = response
      response.on('end', () => resolve(statusCode < 500 ? undefined : `${statusCode} ${firstLine(text)}`.trim()))
      response.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'broken off'))
    })
    outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error('late'), { code: 'no answer' })))
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'failed'))
    outgoing.end()
  })
}

/** A reason in a word, not a page of HTML. */
function firstLine(text: string): string {
  const [line = ''] = text.split('\n', 1)
  return line.startsWith('<') ? '' : line.slice(0, 40)
}
