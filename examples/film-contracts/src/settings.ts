import { duration, secret } from '@platform/config'
import { z } from 'zod'
import { certificateSetting } from './certificate.ts'

/** Read once, by what is built at the start. */
const atStart = { reload: 'restart' } as const

/** The settings that every service of the store has; each adds its own. */
export const commonSettings = {
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('What is logged').meta(atStart),
  logFormat: z.enum(['json', 'ecs', 'pretty']).default('json').describe("How a line looks: pino's, Elastic's, or for people").meta(atStart),
  instance: z.string().default('1').describe('Name of this instance among those of the service').meta(atStart),
  gracePeriod: duration().default(30_000).describe('Time between SIGTERM and SIGKILL that the platform grants').meta(atStart),
  admin: z
    .object({
      host: z.string().default('127.0.0.1').describe('Address of probes and metrics'),
      port: z.int().min(0).max(65_535).describe('Port of probes and metrics'),
      token: secret(z.string())
        .optional()
        .describe('What opens metrics and log level; without it metrics are open and nothing can be changed'),
    })
    .meta(atStart),
  certificate: certificateSetting,
  db: z
    .object({
      url: secret(z.string()).describe("URL of the service's own database"),
      maxSize: z.int().positive().default(10).describe('Connections at most'),
    })
    .meta(atStart),
  queue: z
    .object({
      driver: z.enum(['postgres', 'rabbitmq']).default('postgres').describe('What carries the messages'),
      url: secret(z.string()).describe('URL of the broker, or of the database that serves as one'),
    })
    .meta(atStart),
  sampling: z.number().min(0).max(1).default(0.1).describe('Share of traces that are recorded').meta(atStart),
}

/** For services that take requests. */
export const accessLogSetting = z.boolean().default(false).describe('Whether every request is logged').meta(atStart)

/** The port and address on which a service takes requests. */
export const httpSettings = z
  .object({
    host: z.string().default('127.0.0.1').describe('Address to listen on'),
    port: z.int().min(0).max(65_535).describe('Port to listen on'),
    minDrainMs: duration().default(5_000).describe('How long to go on listening after SIGTERM: until the last balancer knows'),
  })
  .meta(atStart)
