import type { Discovery, Registration } from '@platform/discovery'
import type { Settings } from './config.ts'

/** Lists this instance in the registry while it serves: after its port is open, and until it is asked to leave. */
export function announce(discovery: Discovery, { instance, http, certificate }: Pick<Settings, 'instance' | 'http' | 'certificate'>) {
  let registration: Registration | undefined
  const withdraw = async () => {
    await registration?.deregister()
    registration = undefined
  }
  return {
    async ready() {
      registration = await discovery.register({
        id: `catalog-api-${instance}`,
        service: 'catalog-api',
        address: http.advertise ?? http.host,
        port: http.port,
        ...(certificate !== undefined && { meta: { scheme: 'https' } }),
        check: { ttlMs: 10_000 },
      })
    },
    quiesce: withdraw,
    close: withdraw,
  }
}
