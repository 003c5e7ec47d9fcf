/** Settings for push.integration.test.ts. */
import { z } from 'zod'
import { type ConfigDefinition, defineConfig, secret } from '../index.ts'

export const settings: ConfigDefinition<unknown> = defineConfig({
  schema: z.object({
    size: z.int().default(1),
    hosts: z.array(z.string()).default([]),
    labels: z.record(z.string(), z.string()).default({}),
    greeting: z.string().default('hi'),
    db: z.object({ password: secret(z.string()).optional() }).prefault({}),
  }),
})
