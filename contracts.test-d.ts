/**
 * Packages know each other by shape: each restates the few members it needs. Here the real classes are held against those shapes, so that a
 * change on one side that no longer fits the other fails `pnpm typecheck`.
 */
import { expectTypeOf, test } from 'vitest'
import type { Cache } from './packages/cache/src/index.ts'
import type { postgresBus } from './packages/cache/src/buses/postgres.ts'
import type { Config, Secret } from './packages/config/src/index.ts'
import type { DbPool, Transaction } from './packages/db-pool/src/index.ts'
import type { causalityHook, createDbPool } from './packages/db-pool/src/index.ts'
import type { DnsResponder } from './packages/discovery/src/dns/responder.ts'
import type { Discovery, ServiceClient, createDiscovery } from './packages/discovery/src/index.ts'
import type { Gateway, createGateway } from './packages/gateway/src/index.ts'
import type { Check, Health, createHealth } from './packages/health/src/index.ts'
import type { Logger, logContextHook } from './packages/logger/src/index.ts'
import type { Broker, Consumer, Outbox, createBroker, createInbox, createOutbox } from './packages/queue/src/index.ts'
import type { createPolicy, deadlineHeaders, deadlineHook, PolicyOptions } from './packages/resilience/src/index.ts'
import type { InboundHook } from './packages/service/src/http/index.ts'
import type { Component, MetricsPage, createService } from './packages/service/src/index.ts'
import type { Telemetry } from './packages/telemetry/src/index.ts'
import type { createCache } from './packages/cache/src/index.ts'

type Options<F extends (...args: never[]) => unknown> = Parameters<F>[0]
type LoggerOf<F extends (...args: never[]) => unknown> = NonNullable<Extract<Options<F>, { logger?: unknown }>['logger']>

test('every long-lived object is a component that service can run', () => {
  expectTypeOf<Config<object>>().toExtend<Component>()
  expectTypeOf<Telemetry>().toExtend<Component>()
  expectTypeOf<DbPool>().toExtend<Component>()
  expectTypeOf<Cache>().toExtend<Component>()
  expectTypeOf<Broker>().toExtend<Component>()
  expectTypeOf<Consumer>().toExtend<Component>()
  expectTypeOf<Outbox>().toExtend<Component>()
  expectTypeOf<Discovery>().toExtend<Component>()
  expectTypeOf<ServiceClient>().toExtend<Component>()
  expectTypeOf<DnsResponder>().toExtend<Component>()
  expectTypeOf<Health>().toExtend<Component>()
  expectTypeOf<Gateway>().toExtend<Component>()
})

test('our logger is one for every package', () => {
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createDbPool>>()
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createCache>>()
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createBroker>>()
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createDiscovery>>()
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createHealth>>()
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createService>>()
  expectTypeOf<Logger>().toExtend<LoggerOf<typeof createGateway>>()
})

test('our pool is the database of outbox, inbox and bus', () => {
  expectTypeOf<DbPool>().toExtend<Options<typeof createOutbox>['db']>()
  expectTypeOf<DbPool>().toExtend<Options<typeof createInbox>['db']>()
  expectTypeOf<DbPool>().toExtend<Options<typeof postgresBus>['db']>()
})

test('our transaction carries messages and invalidations', () => {
  expectTypeOf<Transaction>().toExtend<Parameters<Outbox['add']>[0]>()
  expectTypeOf<Transaction>().toExtend<Parameters<Cache['invalidateAfterCommit']>[0]>()
})

test('our secret is a credential', () => {
  expectTypeOf<Secret>().toExtend<NonNullable<Options<typeof createDbPool>['password']>>()
})

test('our hooks fit where requests enter and leave', () => {
  expectTypeOf<typeof logContextHook>().toExtend<InboundHook>()
  expectTypeOf<typeof deadlineHook>().toExtend<InboundHook>()
  expectTypeOf<ReturnType<typeof causalityHook>>().toExtend<InboundHook>()
  expectTypeOf<Telemetry['inbound']>().toExtend<InboundHook>()
  type ClientOptions = NonNullable<Parameters<Discovery['client']>[1]>
  type OutboundHook = NonNullable<ClientOptions['outbound']>[number]
  expectTypeOf<typeof deadlineHeaders>().toExtend<OutboundHook>()
  expectTypeOf<Telemetry['outbound']>().toExtend<OutboundHook>()
  expectTypeOf<Telemetry['inbound']>().toExtend<NonNullable<Options<typeof createBroker>['inbound']>[number]>()
  expectTypeOf<Telemetry['outbound']>().toExtend<NonNullable<Options<typeof createBroker>['outbound']>[number]>()
})

test('a live part of the settings drives a policy', () => {
  type Settings = { catalog: PolicyOptions }
  const live = (config: Config<Settings>) => config.live((settings) => settings.catalog)
  expectTypeOf<ReturnType<typeof live>>().toExtend<Options<typeof createPolicy>>()
})

test('checks and the metrics page fit health and service', () => {
  expectTypeOf<NonNullable<DbPool['check']>>().toExtend<Check['run']>()
  expectTypeOf<Telemetry['metrics']>().toExtend<MetricsPage>()
  expectTypeOf<Health>().toExtend<NonNullable<Options<typeof createService>['health']>>()
})
