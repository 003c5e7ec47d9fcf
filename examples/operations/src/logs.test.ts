import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuditLog, createLogger, withLogContext } from '@platform/logger'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { auditFields, type FieldType, indexTemplate, lifetimePolicy, logFields, logFiles, pattern, savedObjects, streams } from './logs.ts'
import { readPipeline } from './logstash-grammar.fixture.ts'

const docker = (file: string) => readFileSync(new URL(`../../../docker/${file}`, import.meta.url), 'utf8')

/** What Elasticsearch would refuse, or not find again. */
function misfits(line: object, fields: Readonly<Record<string, FieldType>>, path = ''): string[] {
  return Object.entries(line).flatMap(([key, value]) => {
    const name = path + key
    const type = fields[name]
    if (type === undefined)
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? misfits(value as object, fields, `${name}.`)
        : [`${name} is in no template`]
    return fits[type](value) ? [] : [`${name} is no ${type}: ${JSON.stringify(value)}`]
  })
}

const isText = (value: unknown) => typeof value === 'string'
const fits: Readonly<Record<FieldType, (value: unknown) => boolean>> = {
  date: (value) => isText(value) && !Number.isNaN(Date.parse(value as string)),
  keyword: isText,
  match_only_text: isText,
  wildcard: isText,
  ip: isText,
  long: Number.isSafeInteger,
  flattened: (value) => typeof value === 'object' && value !== null && depth(value) <= 20,
}
const depth = (value: unknown): number =>
  typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depth)) : 0

describe('lines of the logger in the ECS format', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'film-store-logs-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('fit the template, whatever is logged', async () => {
    const path = join(folder, 'lines')
    const logger = createLogger({ name: 'orders-api', version: '1.4.0', format: 'ecs', level: 'trace', destination: path })
    const endless: Record<string, unknown> = {}
    endless['self'] = endless
    const values = [
      1,
      'a',
      1n,
      true,
      null,
      undefined,
      [1, ['a']],
      { id: { id: 7 } },
      endless,
      new Map([[1, 2]]),
      Buffer.from('x'),
      () => 1,
      Symbol('s'),
      Number.NaN,
    ]
    for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) logger[level]('said')
    // One name, every kind of value: under `data` they do not settle the mapping for each other.
    for (const id of values)
      logger.info({ id, message: id, trace: id, error: id, 'log.level': id, data: id, 'service.name': id }, 'a field of every kind')
    for (const code of [23_505, 'ENOSPC', undefined])
      logger.error(Object.assign(new Error('not stored', { cause: new TypeError('no') }), { code, detail: { row: 1 } }), 'failed')
    logger.error({ err: new AggregateError([new Error('a'), 'b'], 'many') })
    withLogContext({ request_id: 'r-1', method: 'GET', path: '/films/1', user: 7 }, () =>
      logger.child({ module: 'stock' }).warn('in a request'),
    )
    await logger.close()

    const lines = readFileSync(path, 'utf8').trim().split('\n')
    expect(lines.length).toBeGreaterThan(24)
    expect(lines.flatMap((line) => misfits(JSON.parse(line) as object, logFields))).toEqual([])
  })

  it('of the audit log fit theirs', async () => {
    const path = join(folder, 'audit')
    const audit = createAuditLog({ name: 'orders-api', path })
    await audit.record({
      actor: { type: 'user', id: '7' },
      action: 'order.cancel',
      target: { type: 'order', id: '1' },
      outcome: 'denied',
      reason: 'not theirs',
    })
    await audit.close()
    expect(misfits(JSON.parse(readFileSync(path, 'utf8')) as object, auditFields)).toEqual([])
  })

  it('are told from what would be refused', () => {
    expect(misfits({ 'process.pid': 'x', new: { field: 1 }, data: 7 }, logFields)).toEqual([
      'process.pid is no long: "x"',
      'new.field is in no template',
      'data is no flattened: 7',
    ])
  })
})

describe('what Elasticsearch is given', () => {
  it('keeps logs for thirty days in indices that are closed each day, audit apart for a year', () => {
    expect(streams.map(({ name, keptDays }) => [name, keptDays])).toEqual([
      ['logs', 30],
      ['audit', 365],
    ])
    expect(lifetimePolicy(streams[0]!)).toMatchObject({
      policy: { phases: { hot: { actions: { rollover: { max_age: '1d' } } }, delete: { min_age: '30d' } } },
    })
    expect(new Set(streams.map(({ name }) => pattern(name))).size).toBe(2)
  })

  it('maps each field as its table says, nothing besides, and only one level of a name is a value', () => {
    for (const stream of streams) {
      const { template } = indexTemplate(stream) as { template: { mappings: { dynamic: boolean; properties: Properties } } }
      expect(template.mappings.dynamic).toBe(false)
      expect(leaves(template.mappings.properties)).toEqual(stream.fields)
    }
  })

  it('finds what a saved object refers to', () => {
    const all = savedObjects() as { id: string; type: string; references: { id: string; type: string }[] }[]
    const known = new Set(all.map(({ type, id }) => `${type} ${id}`))
    expect(all.flatMap(({ references }) => references).filter(({ type, id }) => !known.has(`${type} ${id}`))).toEqual([])
  })

  it('is what the set-up uploads', () => {
    const setup = docker('elasticsearch/setup.sh')
    for (const { name } of logFiles()) {
      const file = name.replace('elasticsearch/', '/setup/').replace(/film-store-(?:logs|audit)/, 'film-store-$stream')
      expect(setup).toContain(file)
    }
  })
})

interface Properties {
  readonly [name: string]: { readonly type?: FieldType; readonly properties?: Properties }
}
function leaves(properties: Properties, path = ''): Record<string, FieldType> {
  return Object.assign(
    {},
    ...Object.entries(properties).map(([name, { type, properties: below }]) =>
      type === undefined ? leaves(below ?? {}, `${path}${name}.`) : { [path + name]: type, ...leaves(below ?? {}, `${path}${name}.`) },
    ),
  ) as Record<string, FieldType>
}

describe('the way there', () => {
  it('goes from Filebeat to Logstash, which keeps lines on its disk and refused ones apart', () => {
    const filebeat = parse(docker('filebeat/filebeat.yml')) as {
      'output.logstash': { hosts: string[] }
      'filebeat.inputs': { parsers: object[] }[]
    }
    const logstash = parse(docker('logstash/logstash.yml')) as Record<string, unknown>
    const { services } = parse(docker('compose.logs.yml'), { merge: true }) as { services: Record<string, { volumes?: string[] }> }
    expect(filebeat['output.logstash'].hosts).toEqual(['logstash:5044'])
    expect(filebeat['filebeat.inputs'][0]!.parsers.map((each) => Object.keys(each)[0])).toEqual(['container', 'ndjson'])
    expect(logstash).toMatchObject({ 'queue.type': 'persisted', 'dead_letter_queue.enable': true })
    const pipelines = (parse(docker('logstash/pipelines.yml')) as { 'path.config': string }[]).map((each) => each['path.config'])
    const mounted = (services['logstash']!.volumes ?? []).map((each) => each.split(':')[1])
    expect(pipelines.filter((file) => !mounted.includes(file))).toEqual([])
  })

  it.each(['lines', 'refused'])('reads %s.conf as Logstash does', (name) => {
    const sections = readPipeline(docker(`logstash/${name}.conf`))
    expect(sections.map(([section]) => section)).toEqual(['input', 'filter', 'output'])
    expect(sections.at(-1)![1]).toEqual(['elasticsearch'])
  })

  it('refuses a pipeline that Logstash would refuse', () => {
    expect(() => readPipeline('input { beats { port => 5044 }')).toThrow('expected')
    expect(() => readPipeline('input { beats { port = 5044 } }')).toThrow('expected')
  })
})
