import { expect, it } from 'vitest'
import { createRedactor, type LogFormat, withLogContext } from '../index.ts'
import { kept } from '../testing/kept-logger.ts'
import { harmlessTexts, secretTexts } from './corpus.fixture.ts'

const canary = 'hunter2canary'
const formats: LogFormat[] = ['json', 'ecs', 'pretty']

it.each(Object.keys(secretTexts))('no secret shows in any channel: %s', (origin) => {
  for (const text of secretTexts[origin]!(canary)) {
    for (const format of formats) {
      const { logger, texts } = kept({ format })
      logger.info({ text, list: [[text]], map: new Map([['text', text]]), json: JSON.stringify({ body: text }), [text]: 1 }, text)
      logger.error(new Error(text, { cause: new AggregateError([new Error(text)], text) }))
      logger.info('%s %j', text, { text })
      logger.child({ text }).info('child')
      withLogContext({ text }, () => logger.info('context'))
      expect({ text, shown: texts.filter((line) => line.includes(canary)) }).toEqual({ text, shown: [] })
    }
    expect(createRedactor().text(text)).not.toContain(canary)
  }
})

it.each(harmlessTexts)('stays readable: %s', (text) => {
  const { logger, lines } = kept()
  logger.info({ text }, text)
  expect(lines()).toMatchObject([{ text, msg: text }])
})
