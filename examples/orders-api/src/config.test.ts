import { readFileSync } from 'node:fs'
import { envTemplate } from '@platform/config'
import { expect, it } from 'vitest'
import { prefix, settings } from './config.ts'

it('.env.example is what the schema says', () => {
  const written = readFileSync(new URL('../.env.example', import.meta.url), 'utf8')
  expect(written).toBe(envTemplate(settings, { prefix }))
})
