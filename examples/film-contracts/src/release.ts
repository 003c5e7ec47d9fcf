/** Of which release this program is, where `OTEL_RESOURCE_ATTRIBUTES` says so: then its lines say the same as its metrics and traces. */
export function release(env: NodeJS.ProcessEnv = process.env): string | undefined {
  for (const attribute of (env['OTEL_RESOURCE_ATTRIBUTES'] ?? '').split(',')) {
    const [key, value] = attribute.split('=', 2)
    if (key?.trim() === 'service.version' && value) return value.trim()
  }
  return undefined
}
