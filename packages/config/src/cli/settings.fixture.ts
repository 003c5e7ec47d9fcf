import { z } from 'zod'
import { defineConfig, dotenv, env, file, secret, type ConfigDefinition, type Source } from '../index.ts'
import { createRotation, type Rotation } from '../rotation/index.ts'

export const prefix = 'SHOP'

export const settings: ConfigDefinition<unknown> = defineConfig({
  schema: z.object({
    port: z.int().default(8080).describe('Where to listen').meta({ reload: 'restart' }),
    currency: z.enum(['EUR', 'USD']).default('EUR'),
    db: z.object({
      url: z.string().meta({ env: 'DATABASE_URL' }),
      password: secret(z.string().min(8)),
      pin: secret(z.string()).prefault('canary-default'),
    }),
  }),
})

const folder = (): string => process.env['SETTINGS_FIXTURE'] ?? ''

export const sources = ({ environment = 'staging' }: { environment: string | undefined }): Source[] => [
  file(`${folder()}/${environment}.yaml`),
  dotenv(`${folder()}/.env`, { prefix }),
  env({ prefix }),
]

export const rotation: Rotation = createRotation({
  target: {
    name: 'nothing',
    users: ['a', 'b'],
    setPassword: () => Promise.resolve(),
    prove: () => Promise.resolve(),
    exclusively: (run) => run(),
  },
  store: { name: 'nowhere', read: () => Promise.resolve(undefined), write: () => Promise.resolve() },
})
