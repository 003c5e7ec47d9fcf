export type { BalancerName } from './balancer.ts'
export type { Credential } from './credential.ts'
export {
  createDiscovery,
  type Discovery,
  type DiscoveryOptions,
  type DiscoveryStats,
  type RegisterOptions,
  type Registration,
} from './discovery.ts'
export { DiscoveryError, type DiscoveryErrorCode, discoveryErrorCodes, type DiscoveryErrorFacts } from './errors.ts'
export type { EjectionOptions } from './ejection.ts'
export type { DiscoveryEvent } from './events.ts'
export type { ProbeOptions } from './probes.ts'
export { DRAINING_HEADER, LOAD_HEADER, SERVICE_HEADER } from './response-signals.ts'
export type { Check, Instance, ReadResult, RegisteredInstance, Registrations, RegistryConnection, RegistryDriver } from './registry.ts'
export type { InstanceExplanation, OutboundHook, ServiceClient, ServiceClientOptions, ServiceRequestInit } from './service-client.ts'
