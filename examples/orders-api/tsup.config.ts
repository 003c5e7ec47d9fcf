import { defineConfig } from 'tsup'
import { program } from '../../tsup.preset.ts'

export default defineConfig(program({ main: 'src/main.ts', migrate: 'src/migrate.ts', resend: 'src/resend.ts' }))
