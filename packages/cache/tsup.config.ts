import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(
  library({
    index: 'src/index.ts',
    memory: 'src/drivers/memory.ts',
    redis: 'src/drivers/redis.ts',
    postgres: 'src/buses/postgres.ts',
    testing: 'src/testing/index.ts',
  }),
)
