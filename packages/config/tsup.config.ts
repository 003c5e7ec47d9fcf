import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(
  library({
    index: 'src/index.ts',
    consul: 'src/sources/consul.ts',
    vault: 'src/sources/vault.ts',
  }),
)
