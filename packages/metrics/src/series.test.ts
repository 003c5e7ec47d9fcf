import { describe, expect, it } from 'vitest'
import { bucketOf, countOf, labelOf, registry, series } from './index.ts'

describe('a series', () => {
  it('has the name and the labels that Prometheus sees', () => {
    expect(series('platform.cache.requests', { result: 'hit', job: 'catalog-api' })).toBe(
      'platform_cache_requests_total{result="hit",job="catalog-api"}',
    )
    expect(series('db.client.connection.count', { 'db.client.connection.state': 'used' })).toBe(
      'db_client_connection_count{db_client_connection_state="used"}',
    )
    expect(series('nodejs.eventloop.utilization')).toBe('nodejs_eventloop_utilization_ratio')
    expect(countOf('http.server.request.duration', { 'http.response.status_code': { like: '5..' } })).toBe(
      'http_server_request_duration_seconds_count{http_response_status_code=~"5.."}',
    )
    expect(bucketOf('http.server.request.duration', { le: '0.25', 'http.route': { not: '' } })).toBe(
      'http_server_request_duration_seconds_bucket{le="0.25",http_route!=""}',
    )
  })

  it('is refused by the compiler when it does not exist', () => {
    // @ts-expect-error there is no such metric
    expect(() => series('platform.cache.request')).toThrow(TypeError)
    // @ts-expect-error nor such a label
    series('platform.cache.requests', { outcome: 'hit' })
    // @ts-expect-error a histogram has no value of its own
    series('http.server.request.duration')
  })

  it('quotes what a value holds', () => {
    expect(series('platform.cache.requests', { result: 'a"b\\' })).toBe('platform_cache_requests_total{result="a\\"b\\\\"}')
  })
})

describe('the registry', () => {
  it('gives each metric a name of its own', () => {
    const names = Object.values(registry).map(({ prometheus }) => prometheus)
    expect(new Set(names).size).toBe(names.length)
  })

  it('knows the labels of each', () => {
    expect(labelOf('http.server.request.duration', 'http.route')).toBe('http_route')
    expect(labelOf('http.server.request.duration', 'job')).toBe('job')
  })

  it('knows a metric that two packages make by both', () => {
    expect(registry['http.server.request.duration'].owners).toEqual(['gateway', 'telemetry'])
    expect(labelOf('http.server.request.duration', 'url.scheme')).toBe('url_scheme')
  })
})
