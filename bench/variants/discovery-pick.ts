/** `node --conditions=@platform/source discovery-pick.ts <count>` prints what one pick among so many instances costs. */
import { balancers } from '../../packages/discovery/src/balancer.ts'
import { Ejection, resolveEjection } from '../../packages/discovery/src/ejection.ts'
import { EndpointSet } from '../../packages/discovery/src/endpoint-set.ts'

const count = Number(process.argv[2])
const set = new EndpointSet({
  balancer: balancers['p2c-ewma'](),
  ejection: new Ejection(resolveEjection()),
  zone: undefined,
  maxConcurrent: Number.POSITIVE_INFINITY,
  onEjected() {},
  onBack() {},
  onMisdirected() {},
})
set.follow(Array.from({ length: count }, (_, index) => ({ id: `i${index}`, service: 's', address: '10.0.0.1', port: index + 1 })))
const nobody: ReadonlySet<never> = new Set()
const picks = 300_000
for (let i = 0; i < picks / 3; i++) set.pick(nobody)
const before = process.cpuUsage()
for (let i = 0; i < picks; i++) set.pick(nobody)
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ cpuUs: (user + system) / picks }))
process.exit()
