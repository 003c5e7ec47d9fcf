/** Where lines are kept: what Elasticsearch takes them for, how large an index may grow and how long it stays. */

/** How Elasticsearch stores a field. `flattened` takes whatever is in it, at one price. */
export type FieldType = 'date' | 'keyword' | 'match_only_text' | 'wildcard' | 'long' | 'ip' | 'flattened'

/** Every field that our lines may have, by its ECS name; what else a line brings is kept in its source, and not searched. */
export const logFields: Readonly<Record<string, FieldType>> = {
  '@timestamp': 'date',
  'ecs.version': 'keyword',
  'log.level': 'keyword',
  message: 'match_only_text',
  'service.name': 'keyword',
  'service.version': 'keyword',
  'process.pid': 'long',
  'host.hostname': 'keyword',
  'trace.id': 'keyword',
  'span.id': 'keyword',
  'http.request.id': 'keyword',
  'http.request.method': 'keyword',
  'url.path': 'wildcard',
  'error.id': 'keyword',
  'error.type': 'keyword',
  'error.message': 'match_only_text',
  'error.code': 'keyword',
  'error.stack_trace': 'wildcard',
  // Free fields of the program: they can neither collide with those above nor multiply the mapping.
  data: 'flattened',
  // Of the way here.
  'container.id': 'keyword',
  'data_stream.type': 'keyword',
  'data_stream.dataset': 'keyword',
  'data_stream.namespace': 'keyword',
  'event.original': 'wildcard',
  'event.ingested': 'date',
}

/** The records of `createAuditLog`, in its own words. */
export const auditFields: Readonly<Record<string, FieldType>> = {
  '@timestamp': 'date',
  time: 'date',
  id: 'keyword',
  service: 'keyword',
  host: 'keyword',
  pid: 'long',
  'actor.type': 'keyword',
  'actor.id': 'keyword',
  action: 'keyword',
  'target.type': 'keyword',
  'target.id': 'keyword',
  outcome: 'keyword',
  reason: 'match_only_text',
  request_id: 'keyword',
  trace_id: 'keyword',
  span_id: 'keyword',
}

interface Stream {
  readonly name: string
  readonly fields: Readonly<Record<string, FieldType>>
  readonly keptDays: number
}

/** Audit apart: what somebody deletes among the logs, or what the logs' lifetime ends, does not touch it. */
export const streams: readonly Stream[] = [
  { name: 'logs', fields: logFields, keptDays: 30 },
  { name: 'audit', fields: auditFields, keptDays: 365 },
]

/** `logs-film_store.logs-production`: written by Logstash, searched by Kibana. */
export const pattern = (name: string): string => `logs-film_store.${name}-*`
const named = (name: string) => `film-store-${name}`

/** An index is closed after a day or ten gigabytes, so that what is deleted goes a day late at most. */
export function lifetimePolicy({ keptDays }: Stream): object {
  return {
    policy: {
      phases: {
        hot: { actions: { rollover: { max_age: '1d', max_primary_shard_size: '10gb' } } },
        delete: { min_age: `${keptDays}d`, actions: { delete: {} } },
      },
    },
  }
}

/** Above the templates that Elasticsearch brings for `logs-*-*` (100). */
export function indexTemplate({ name, fields }: Stream): object {
  return {
    index_patterns: [pattern(name)],
    data_stream: {},
    priority: 300,
    template: {
      settings: {
        'index.lifecycle.name': named(name),
        // One node: a replica would wait for ever.
        'index.number_of_replicas': 0,
        'index.codec': 'best_compression',
        'index.mapping.total_fields.limit': 200,
        'index.mapping.ignore_malformed': true,
      },
      mappings: { dynamic: false, properties: properties(fields) },
    },
  }
}

/** `{ error: { properties: { id: { type: 'keyword' } } } }` from `error.id`. */
function properties(fields: Readonly<Record<string, FieldType>>): object {
  const root: Record<string, { properties?: object; type?: string }> = {}
  for (const [name, type] of Object.entries(fields)) {
    const path = name.split('.')
    let level: Record<string, unknown> = root
    for (const part of path.slice(0, -1))
      level = ((level[part] ??= { properties: {} }) as { properties: Record<string, unknown> }).properties
    level[path.at(-1)!] = {
      type,
      ...(type === 'keyword' && { ignore_above: 1024 }),
      ...(type === 'flattened' && { depth_limit: 20, ignore_above: 1024 }),
    }
  }
  return root
}

/** What Kibana imports: where to look, every error with its id, a page with what matters. */
export function savedObjects(): readonly object[] {
  const dataView = {
    id: 'film-store-logs',
    type: 'index-pattern',
    attributes: { title: pattern('logs'), name: 'Film store: logs', timeFieldName: '@timestamp' },
    references: [],
  }
  const source = { name: 'kibanaSavedObjectMeta.searchSourceJSON.index', type: 'index-pattern', id: dataView.id }
  const search = (id: string, title: string, query: string, columns: readonly string[]) => ({
    id,
    type: 'search',
    attributes: {
      title,
      columns,
      sort: [['@timestamp', 'desc']],
      kibanaSavedObjectMeta: {
        searchSourceJSON: JSON.stringify({ query: { query, language: 'kuery' }, filter: [], indexRefName: source.name }),
      },
    },
    references: [source],
  })
  const searches = [
    search('film-store-errors', 'Film store: errors', 'log.level: (error or fatal)', [
      'service.name',
      'service.version',
      'error.id',
      'error.type',
      'error.code',
      'message',
      'trace.id',
    ]),
    search('film-store-lines', 'Film store: all lines', '', ['service.name', 'log.level', 'message', 'trace.id']),
  ]
  const panels = searches.map((_, index) => ({
    type: 'search',
    panelIndex: String(index),
    gridData: { x: 0, y: index * 16, w: 48, h: 16, i: String(index) },
    panelRefName: `panel_${index}`,
    embeddableConfig: {},
  }))
  const dashboard = {
    id: 'film-store',
    type: 'dashboard',
    attributes: {
      title: 'Film store: logs',
      panelsJSON: JSON.stringify(panels),
      optionsJSON: '{}',
      timeRestore: false,
      kibanaSavedObjectMeta: { searchSourceJSON: JSON.stringify({ query: { query: '', language: 'kuery' }, filter: [] }) },
    },
    references: searches.map(({ id }, index) => ({ name: `panel_${index}`, type: 'search', id })),
  }
  return [dataView, ...searches, dashboard]
}

/** Below `docker/elasticsearch`, as `setup.sh` uploads them. */
export function logFiles(): readonly { readonly name: string; readonly text: string }[] {
  const json = (content: object) => `${JSON.stringify(content, null, 2)}\n`
  return [
    ...streams.flatMap((each) => [
      { name: `elasticsearch/${named(each.name)}.policy.json`, text: json(lifetimePolicy(each)) },
      { name: `elasticsearch/${named(each.name)}.template.json`, text: json(indexTemplate(each)) },
    ]),
    {
      name: 'elasticsearch/kibana.ndjson',
      text: `${savedObjects()
        .map((each) => JSON.stringify(each))
        .join('\n')}\n`,
    },
  ]
}
