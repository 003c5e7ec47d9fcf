import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(library({ index: 'src/index.ts', redis: 'src/rate-limits/redis.ts', testing: 'src/testing/index.ts' }))
