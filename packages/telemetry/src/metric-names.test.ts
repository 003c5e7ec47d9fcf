import { expect, it } from 'vitest'
import { type FamilyType, familyName } from './metric-names.ts'
import { formatFor } from './prometheus-page.ts'

it.each<[string, string, FamilyType, string]>([
  ['http.server.request.duration', 's', 'histogram', 'http_server_request_duration_seconds'],
  ['messaging.client.sent.messages', '{message}', 'counter', 'messaging_client_sent_messages'],
  ['requests_total', '', 'counter', 'requests'],
  ['nodejs.eventloop.utilization', '1', 'gauge', 'nodejs_eventloop_utilization_ratio'],
  ['retries', '1', 'counter', 'retries'],
  ['disk.io', 'By', 'counter', 'disk_io_bytes'],
  ['disk.bytes', 'By', 'gauge', 'disk_bytes'],
  ['speed', 'm/s', 'gauge', 'speed_meters_per_second'],
  ['rate', '{request}/s', 'gauge', 'rate_per_second'],
  ['0.weird--name', '', 'gauge', '_0_weird_name'],
])('%s in %s as %s is %s', (name, unit, type, expected) => {
  expect(familyName(name, unit, type)).toBe(expected)
})

it.each([
  [undefined, 'prometheus'],
  ['*/*', 'prometheus'],
  ['text/plain', 'prometheus'],
  ['application/openmetrics-text', 'openmetrics'],
  ['text/plain;q=0.9,application/openmetrics-text;q=0.1', 'prometheus'],
  ['application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1', 'openmetrics'],
])('Accept: %s gets %s', (accept, format) => {
  expect(formatFor(accept)).toBe(format)
})
