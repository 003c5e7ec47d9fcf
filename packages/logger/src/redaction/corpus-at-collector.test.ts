import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { context, SpanStatusCode, trace } from '@opentelemetry/api'
import { startTelemetry, type Telemetry } from '@platform/telemetry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createRedactor, withLogContext } from '../index.ts'
import { kept } from '../testing/kept-logger.ts'
import { harmlessTexts, secretTexts } from './corpus.fixture.ts'

const canary = 'hunter2canary'

/** Keeps what it is sent, as it was sent. */
const bodies: string[] = []
const collector = createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (text: string) => (body += text))
  request.on('end', () => (bodies.push(body), response.end('{}')))
})
let telemetry: Telemetry

beforeEach(async () => {
  bodies.length = 0
  if (!collector.listening) await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  const otlpUrl = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
  const env = { OTEL_RESOURCE_ATTRIBUTES: `deployment.token=${canary},host.url=https%3A%2F%2Fme%3A${canary}%40h,service.namespace=films` }
  telemetry = startTelemetry({
    service: 'corpus',
    env,
    sampling: { ratio: 1 },
    traces: { otlpUrl },
    logs: { otlpUrl },
    redactor: createRedactor({ values: () => ['correct horse battery'] }),
  })
})

afterEach(async () => {
  await telemetry.close()
  collector.closeAllConnections()
})

/** In everything that a span takes, and in lines on the way to the same collector. */
function say(text: string): void {
  const tracer = trace.getTracer(text, text)
  const outer = trace.getTracer('outer').startSpan('outer')
  const attributes = { text, [text]: 1, list: [text, text], json: JSON.stringify({ body: text }) }
  const span = tracer.startSpan(text, { attributes, links: [{ context: outer.spanContext(), attributes }] })
  span.addEvent(text, attributes)
  span.recordException(new Error(text, { cause: new Error(text) }))
  span.setStatus({ code: SpanStatusCode.ERROR, message: text })
  span.updateName(text)
  const { logger } = kept()
  context.with(trace.setSpan(context.active(), span), () => {
    logger.error({ ...attributes, err: new Error(text, { cause: new AggregateError([new Error(text)], text) }) }, text)
    withLogContext({ text }, () => logger.child({ text }).warn('%s', text))
  })
  span.end()
  outer.end()
}

async function sent(): Promise<string> {
  await telemetry.close()
  expect(telemetry.stats()).toMatchObject({ dropped: 0, queued: 0, logs: { dropped: 0, queued: 0 } })
  expect(bodies.length).toBeGreaterThan(0)
  return bodies.join('\n')
}

describe('at a collector of traces and logs', () => {
  it.each(Object.keys(secretTexts))('no secret shows: %s', async (origin) => {
    const texts = secretTexts[origin]!(canary)
    for (const text of texts) say(text)
    const all = await sent()
    expect(all.split('\n').flatMap((body) => body.match(new RegExp(`.{0,80}${canary}.{0,20}`, 'g')) ?? [])).toEqual([])
    expect(all).toContain('"films"')
  })

  it('no secret shows under a name that says so, in a list, a request target or a header', async () => {
    const attributes = {
      password: canary,
      'http.request.header.authorization': [`Bearer ${canary}`],
      'http.request.header.cookie': [`sid=${canary}`],
      'db.query.parameter.password': canary,
      'url.full': `https://me:${canary}@films.example/login?token=${canary}#access_token=${canary}`,
      'url.query': `a=1&password=${canary}`,
      known: 'said correct horse battery twice',
    }
    const tracer = trace.getTracer('t')
    const span = tracer.startSpan('login', { attributes })
    span.addEvent('sent', attributes)
    span.addLink({ context: span.spanContext(), attributes })
    span.end()
    telemetry.inbound({ method: 'GET', url: `http://me:${canary}@h/login;token=${canary}?password=${canary}`, headers: {} }, () => 1)
    telemetry.inbound({ method: 'GET', url: '/', headers: {}, route: () => `/reset?token=${canary}` }, () => 1)
    const all = await sent()
    expect(all).not.toContain('correct horse')
    expect(all).not.toContain(canary)
  })

  it.each(['db.query.text', 'db.statement'])('no value shows that a statement with a secret takes by position: %s', async (text) => {
    const attributes = {
      [text]: 'UPDATE users SET password_hash = $1 WHERE id = $2',
      'db.query.parameter.0': canary,
      'db.query.parameter.$1': canary,
      'db.statement.parameters': canary,
      'db.postgresql.values': [canary, '7'],
      'db.query.parameter.title': 'Metropolis',
      'db.collection.name': 'users',
    }
    trace.getTracer('t').startSpan('UPDATE users', { attributes }).end()
    const films = { [text]: 'SELECT * FROM films WHERE title = $1', 'db.query.parameter.0': 'Nosferatu', 'db.mysql.values': ['Stalker'] }
    trace.getTracer('t').startSpan('SELECT films', { attributes: films }).end()
    const all = await sent()
    expect(all).not.toContain(canary)
    for (const shown of ['Metropolis', 'Nosferatu', 'Stalker', '"users"']) expect(all).toContain(shown)
  })

  it('what only looks like one stays readable', async () => {
    for (const text of harmlessTexts) trace.getTracer('t').startSpan('work', { attributes: { text } }).end()
    const all = await sent()
    const shown = [...all.matchAll(/"key":"text","value":\{"stringValue":("(?:[^"\\]|\\.)*")\}/g)].map(
      ([, json]) => JSON.parse(json!) as string,
    )
    expect(shown.toSorted()).toEqual(harmlessTexts.toSorted())
  })
})
