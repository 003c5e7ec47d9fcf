import { type Check, median, type Question, type Row, row } from '../report.ts'
import { instances, openStage, type Part, parts, type Stage } from '../variants/gateway-stage.ts'
import type { Told } from '../variants/gateway-load.ts'

/** Each adds one thing to the one before; then a proxy in Node and HAProxy that do what `and a limit` does, HAProxy without a shared count. */
const ways = {
  direct: { at: 'service', path: '/films', tokens: 'none' },
  'plain nginx': { at: 'plain', path: '/films', tokens: 'none' },
  'public route': { at: 'gateway', path: '/films', tokens: 'none' },
  'cached verdict': { at: 'gateway', path: '/own', tokens: 'known' },
  'and a limit': { at: 'gateway', path: '/limited', tokens: 'known' },
  uncached: { at: 'gateway', path: '/own', tokens: 'new' },
  fastify: { at: 'fastify', path: '/limited', tokens: 'known' },
  haproxy: { at: 'haproxy', path: '/limited', tokens: 'known' },
} as const
type Way = keyof typeof ways
const allNames = Object.keys(ways) as Way[]
/** Whose log lines are written, whose trace begins, whose token and limit are looked at. */
const everything: Way = 'and a limit'
/** About a fifth of what two cores can do. */
const perSecond = 2_000
const mostCpuUs = 130
const mostP95Ms = 10
const churn = { perSecond: 300, forMs: 12_000, changes: 200, everyMs: 50 }

interface Round {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  /** Of each request. */
  readonly cpuUs: Readonly<Record<Part, number>>
  readonly failed: Told['failed']
}

const question: Question = {
  title: 'What does the gateway cost a request beside a plain nginx, what is lost when instances change, and how soon is a change there?',
  async measure({ quick, onProgress }) {
    await using stage = await openStage()
    const names = allNames.filter((way) => stage.urls[ways[way].at] !== undefined)
    const rounds = Object.fromEntries(names.map((way) => [way, [] as Round[]])) as Record<Way, Round[]>
    const known = await stage.sign(50)
    for (const way of names) await oneRound(stage, way, known, 1_000)
    const count = quick ? 3 : 7
    for (let number = 0; number < count; number++) {
      for (const way of number % 2 === 0 ? names : names.toReversed())
        rounds[way].push(await oneRound(stage, way, known, quick ? 2_500 : 8_000))
      onProgress(`round ${number + 1} of ${count}`)
    }
    const lost = await lostWhileChanging(stage)
    onProgress(`${churn.changes} changes of the set under ${churn.perSecond}/s`)
    const effects = await changesToEffect(stage, quick ? 6 : 20)
    const many: number[] = []
    for (let turn = 0; turn < (quick ? 2 : 5); turn++) {
      const startedAt = performance.now()
      await stage.apply(1_000 + turn)
      many.push(performance.now() - startedAt)
    }
    return { versions: stage.versions, rows: rowsOf(names, rounds, effects, many), checks: checksOf(names, rounds, lost) }
  },
}

async function oneRound(stage: Stage, way: Way, known: readonly string[], forMs: number): Promise<Round> {
  const { at, path, tokens: kind } = ways[way]
  const tokens = kind === 'none' ? [] : kind === 'known' ? known : await stage.sign((perSecond * forMs) / 1000)
  const before = await stage.cpuUs()
  const { durationsMs, failed } = await stage.load({ url: `${stage.urls[at]!}${path}`, perSecond, forMs, tokens })
  const after = await stage.cpuUs()
  const cpuUs = Object.fromEntries(parts.map((part) => [part, (after[part] - before[part]) / durationsMs.length])) as Record<Part, number>
  const sorted = durationsMs.toSorted((a, b) => a - b)
  const at95 = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
  return { p50: at95(0.5), p95: at95(0.95), p99: at95(0.99), failed, cpuUs }
}

/** Sets of all instances and of all but one, in turn. */
async function lostWhileChanging(stage: Stage): Promise<{ asked: number; failed: Told['failed'] }> {
  const all = Array.from({ length: instances }, (_, number) => number)
  const asking = stage.load({ url: `${stage.urls.gateway}/films`, perSecond: churn.perSecond, forMs: churn.forMs, tokens: [] })
  for (let change = 0; change < churn.changes; change++) {
    await stage.say(all.filter((number) => change % 2 === 0 || number !== (change >> 1) % instances))
    await pause(churn.everyMs)
  }
  const { durationsMs, failed } = await asking
  await stage.say([0])
  return { asked: durationsMs.length, failed }
}

/** From the moment that discovery knows to the first answer of the new instance. */
async function changesToEffect(stage: Stage, times: number): Promise<number[]> {
  const effects: number[] = []
  for (let turn = 0; turn < times; turn++) {
    // At any moment of nginx's second.
    await pause(1_500 + Math.random() * 1_000)
    const next = 1 + (turn % 2)
    await stage.say([next])
    const startedAt = performance.now()
    while ((await stage.answering()) !== next) await pause(5)
    effects.push(performance.now() - startedAt)
  }
  await stage.say([0])
  return effects
}

function rowsOf(
  names: readonly Way[],
  rounds: Readonly<Record<Way, readonly Round[]>>,
  effects: readonly number[],
  many: readonly number[],
): Row[] {
  const over = (way: Way, pick: (round: Round) => number) => rounds[way].map((round, place) => pick(round) - pick(rounds.direct[place]!))
  const figure = (way: Way, metric: string, unit: string, pick: (round: Round) => number) => row(way, metric, unit, rounds[way].map(pick))
  return [
    ...names.flatMap((way) => [
      figure(way, 'p50', 'ms', ({ p50 }) => p50),
      figure(way, 'p99', 'ms', ({ p99 }) => p99),
      ...(way === 'direct'
        ? []
        : [
            row(
              way,
              'p95 over direct',
              'ms',
              over(way, ({ p95 }) => p95),
            ),
            row(
              way,
              'p99 over direct',
              'ms',
              over(way, ({ p99 }) => p99),
            ),
          ]),
      ...(way === 'direct' ? [] : parts.map((part) => figure(way, `CPU, ${part}`, 'µs', ({ cpuUs }) => cpuUs[part]))),
    ]),
    row('a change of the set', 'until it is seen', 'ms', effects),
    row('a file of 1,000 routes', 'until it is in force', 'ms', many),
  ]
}

function checksOf(
  names: readonly Way[],
  rounds: Readonly<Record<Way, readonly Round[]>>,
  lost: { asked: number; failed: Told['failed'] },
): Check[] {
  const cpu = ({ cpuUs }: Round) => parts.reduce((sum, part) => sum + cpuUs[part], 0)
  const cost = median(rounds[everything].map((round, place) => cpu(round) - cpu(rounds['plain nginx'][place]!)))
  const p95 = median(rounds[everything].map((round, place) => round.p95 - rounds.direct[place]!.p95))
  const failed = Object.values(lost.failed).reduce((sum, each) => sum + each, 0)
  const wrong = names.flatMap((way) => rounds[way].map((round) => round.failed)).filter((each) => Object.keys(each).length > 0)
  return [
    {
      name: 'everything on, CPU per request over plain nginx',
      target: `at most ${mostCpuUs} µs`,
      measured: `${cost.toFixed(0)} µs`,
      holds: cost <= mostCpuUs,
    },
    {
      name: `everything on, p95 over direct at ${perSecond}/s`,
      target: `< ${mostP95Ms} ms`,
      measured: `${p95.toFixed(1)} ms`,
      holds: p95 < mostP95Ms,
    },
    {
      name: `failed during ${churn.changes} changes of the set`,
      target: '0',
      measured: `${failed} of ${lost.asked} ${failed === 0 ? '' : JSON.stringify(lost.failed)}`.trim(),
      holds: failed === 0,
    },
    {
      name: 'all other answers are 200',
      target: 'all',
      measured: wrong.length === 0 ? 'all' : JSON.stringify(wrong),
      holds: wrong.length === 0,
    },
  ]
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

export default question
