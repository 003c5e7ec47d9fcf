import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(
  library({
    index: 'src/index.ts',
    cli: 'src/cli.ts',
    flags: 'src/flags.ts',
    rotation: 'src/rotation/index.ts',
    consul: 'src/sources/consul.ts',
    vault: 'src/sources/vault.ts',
  }),
)
