import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(library({ index: 'src/index.ts', testing: 'src/testing.ts', supervisor: 'src/supervisor.ts' }))
