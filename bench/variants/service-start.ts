/** `node variants/service-start.ts <count>`: how long a service of so many components, each of which needs one before it, takes to start, ms. */
import { component, createService } from '@platform/service'

const count = Number(process.argv[2])
const made = () => ({ ready: async () => {}, close: async () => {} })
const components = Object.fromEntries(
  Array.from({ length: count }, (_, index) => [`c${index}`, component(made(), { needs: index < 10 ? [] : [`c${index - 10}`] })]),
)
const from = performance.now()
const service = createService({ name: 'many', components })
await service.start()
console.log(JSON.stringify({ startMs: performance.now() - from }))
await service.stop('measured')
