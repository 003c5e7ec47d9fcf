import { describe, expect, it } from 'vitest'
import { clock, day, hour, minute, writeDuration } from './clock.ts'
import { objectiveRules, symptomRules } from './rules.ts'
import { slo, sloRules } from './slo.ts'

const pages = slo({ name: 'pages', title: 'Pages', job: 'shop', objective: 0.999, events: { all: 'all_total', bad: 'bad_total' } })
const windowsOf = (text: string) => [...text.matchAll(/\[(\w+)\]/g)].map(([, window]) => window)

describe('an objective', () => {
  it('is a share', () => {
    expect(() => slo({ ...pages, objective: 99.9 })).toThrow('a share between 0 and 1, not 99.9')
  })

  it('has the same names at every speed, and windows that are as much shorter', () => {
    const [usual, fast] = [sloRules(pages, clock()), sloRules(pages, clock(1 / 60))]
    const names = (rules: typeof usual) => rules.map((rule) => ('record' in rule ? rule.record : rule.alert))
    expect(names(fast)).toEqual(names(usual))
    expect(new Set(usual.flatMap(({ expr }) => windowsOf(expr)))).toEqual(new Set(['5m', '30m', '1h', '2h', '6h', '1d', '3d']))
    expect(new Set(fast.flatMap(({ expr }) => windowsOf(expr)))).toEqual(new Set(['5s', '30s', '1m', '2m', '6m', '24m', '72m']))
  })

  it('asks for both windows to burn, and for more than a few events', () => {
    const page = sloRules(pages, clock()).find((rule) => 'alert' in rule && rule.labels['severity'] === 'page')!
    const matching = '{slo="pages"}'
    expect(page.expr).toContain(
      `(slo:error_ratio:rate1h${matching} > 14.4 * 0.001 and slo:error_ratio:rate5m${matching} > 14.4 * 0.001 and slo:events:increase1h${matching} > 10)`,
    )
  })

  it('counts no failure as none, where there were events', () => {
    const [first] = sloRules(pages, clock())
    expect(first!.expr).toBe('(sum(rate(bad_total[5m])) or 0 * sum(rate(all_total[5m]))) / (sum(rate(all_total[5m])) > 0)')
  })
})

describe('the rules', () => {
  it('name a runbook with every alert', () => {
    const all = [objectiveRules(clock()), symptomRules(clock())].flatMap(({ groups }) => groups.flatMap(({ rules }) => rules))
    const alerts = all.filter((rule) => 'alert' in rule)
    expect(alerts.length).toBeGreaterThan(10)
    for (const { alert, annotations } of alerts) expect(annotations['runbook']).toBe(`docs/operations/runbooks.md#${alert.toLowerCase()}`)
  })

  it('run through the clock with every span of time', () => {
    const lengths: Record<string, number> = { h: hour, m: minute, s: 1_000 }
    const spans = (scale: number) =>
      symptomRules(clock(scale)).groups.flatMap(({ rules }) =>
        rules.flatMap((rule) => ('for' in rule && rule.for ? [Number.parseInt(rule.for, 10) * lengths[rule.for.slice(-1)]!] : [])),
      )
    expect(spans(1).length).toBeGreaterThan(5)
    expect(spans(1 / 60).map((ms) => ms * 60)).toEqual(spans(1))
  })
})

describe('a duration', () => {
  it.each([
    [3 * day, '3d'],
    [36 * hour, '36h'],
    [90 * minute, '90m'],
    [5_000, '5s'],
    [250, '250ms'],
    [0, '0s'],
  ])('of %d ms is %s', (ms, text) => {
    expect(writeDuration(ms)).toBe(text)
  })
})
