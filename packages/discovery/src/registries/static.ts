import { refuseOption } from '../errors.ts'
import { baseUrl, type Instance, type RegistryConnection, type RegistryDriver } from '../registry.ts'

/** A fixed list of origins per service, such as `{ catalog: ['http://127.0.0.1:3001'] }`. Nothing is registered. */
export function staticInstances(services: Readonly<Record<string, readonly string[]>>): RegistryDriver {
  const sets = new Map(Object.entries(services).map(([service, urls]) => [service, urls.map((url) => parse(service, url))]))
  return {
    name: 'static',
    open: (): RegistryConnection => ({
      readTimeoutMs: undefined,
      async read(service, { cursor, signal }) {
        signal.throwIfAborted()
        if (cursor !== undefined)
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
        return { instances: sets.get(service) ?? [], cursor: 'fixed' }
      },
      async close() {},
    }),
  }
}

function parse(service: string, text: string): Instance {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (
    url === undefined ||
    !['http:', 'https:'].includes(url.protocol) ||
    url.pathname !== '/' ||
    url.search !== '' ||
    url.username !== ''
  ) {
    throw refuseOption(service, 'must be origins like http://127.0.0.1:3001')
  }
  const secure = url.protocol === 'https:'
  const address = url.hostname.replace(/^\[|\]$/g, '')
  const place = { service, address, port: Number(url.port) || (secure ? 443 : 80), ...(secure ? { meta: { scheme: 'https' } } : {}) }
  return Object.freeze({ id: baseUrl({ id: '', ...place }), ...place })
}
