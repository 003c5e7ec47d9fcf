import { Pool } from 'undici'

export interface Answer {
  readonly status: number
  readonly body: unknown
}

export interface Shopfront {
  /**
   * Asks the instances in turn; one that gives no answer, or a 502 to 504, is passed over for the next, until `giveUpAfterMs`. Any other answer is
   * the customer's, a 500 too.
   */
  request(
    path: string,
    init?: { method?: 'GET' | 'POST'; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal },
  ): Promise<Answer>
  stats(): { requests: number; passedOver: number; passes: Readonly<Record<string, number>> }
  close(): Promise<void>
}

/** What is no JSON is an answer too. */
function contentOf(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return text
  }
}

/** What a gateway takes for a dead instance. */
const passedOverStatus = [502, 503, 504]

/** What a browser and the balancer in front of it do: requests go round the instances, and a dead one is passed over. */
export function createShopfront(urls: readonly string[], options: { connections?: number; giveUpAfterMs?: number } = {}): Shopfront {
  const { connections = 32, giveUpAfterMs = 60_000 } = options
  const pools = urls.map((url) => new Pool(url, { connections, headersTimeout: 10_000, bodyTimeout: 10_000, connectTimeout: 2_000 }))
  let turn = 0
  let requests = 0
  const passes: Record<string, number> = {}
  const passOver = (cause: string) => {
    passes[cause] = (passes[cause] ?? 0) + 1
  }

  const ask = async (path: string, init: Parameters<Shopfront['request']>[1] = {}): Promise<Answer> => {
    const pool = pools[turn++ % pools.length]!
    const { statusCode, body } = await pool.request({
      path,
      method: init.method ?? 'GET',
      headers: { ...(init.body === undefined ? {} : { 'content-type': 'application/json' }), ...init.headers },
      ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
      ...(init.signal ? { signal: init.signal } : {}),
    })
    const text = await body.text()
    return { status: statusCode, body: contentOf(text) }
  }

  return {
    async request(path, init) {
      requests++
      const startedAt = performance.now()
      for (let tries = 1; ; tries++) {
        let answer: Answer | undefined
        let failure: unknown
        try {
          answer = await ask(path, init)
          if (!passedOverStatus.includes(answer.status)) return answer
          passOver(String(answer.status))
        } catch (error) {
          init?.signal?.throwIfAborted()
          failure = error
          passOver('no answer')
        }
        if (performance.now() - startedAt > giveUpAfterMs) {
          if (answer) return answer
          throw new Error(`no answer for ${path} from ${urls.join(', ')} in ${giveUpAfterMs} ms`, { cause: failure })
        }
        if (tries >= urls.length) await new Promise((resolve) => setTimeout(resolve, Math.min(50 * tries, 1_000)))
      }
    },
    stats: () => ({ requests, passedOver: Object.values(passes).reduce((sum, count) => sum + count, 0), passes }),
    async close() {
      await Promise.all(pools.map((pool) => pool.destroy()))
    },
  }
}

/** Counts by cause of several parts, as one. */
export function addedUp(parts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const part of parts) for (const [cause, count] of Object.entries(part)) total[cause] = (total[cause] ?? 0) + count
  return total
}
