import { expect, it } from 'vitest'
import { dashboard } from './dashboard.ts'
import { askedFields } from './log-panels.ts'
import { logFields } from './logs.ts'

it('asks the lines for fields alone that they have', () => {
  const asked = [askedFields.group, ...askedFields.shown, ...[...askedFields.errors.matchAll(/[\w.]+(?=:)/g)].map(String)]
  expect(asked.filter((name) => !(name in logFields))).toEqual([])
  // Terms and top metrics need values of their own, not text.
  expect([askedFields.group, ...askedFields.shown].map((name) => logFields[name])).toEqual(Array(6).fill('keyword'))
})

it('groups errors by their id: count, first and last seen, an example with its release and its trace', () => {
  const { panels } = dashboard() as {
    panels: { title?: string; targets?: { bucketAggs: object[]; metrics: { type: string; settings?: { metrics?: string[] } }[] }[] }[]
  }
  const [target] = panels.find(({ title }) => title === 'Errors, grouped')!.targets!
  expect(target!.bucketAggs).toMatchObject([{ type: 'terms', field: 'error.id' }])
  expect(target!.metrics.map(({ type }) => type)).toEqual(['count', 'min', 'max', 'top_metrics'])
  expect(target!.metrics.at(-1)!.settings!.metrics).toEqual(expect.arrayContaining(['service.version', 'trace.id']))
})
