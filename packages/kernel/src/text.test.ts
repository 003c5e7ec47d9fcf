import { expect, test } from 'vitest'
import { isStorableText } from './text.ts'

test('a lone surrogate and NUL are no text that every store takes; everything else is', () => {
  expect(['', 'Amélie 映画 🎬', '__proto__'].every(isStorableText)).toBe(true)
  expect(['\ud83c', 'a\udfac', 'a\0b'].some(isStorableText)).toBe(false)
})
