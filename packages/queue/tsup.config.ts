import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(
  library({
    index: 'src/index.ts',
    memory: 'src/drivers/memory.ts',
    rabbitmq: 'src/drivers/rabbitmq.ts',
    postgres: 'src/drivers/postgres.ts',
    testing: 'src/testing/index.ts',
  }),
)
