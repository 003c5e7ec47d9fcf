import { defineConfig } from 'tsup'
import { program } from '../../tsup.preset.ts'

export default defineConfig(
  program({
    index: 'src/index.ts',
    certificate: 'src/certificate.ts',
    release: 'src/release.ts',
    sentinels: 'src/sentinels.ts',
    settings: 'src/settings.ts',
    shop: 'src/shop.ts',
  }),
)
