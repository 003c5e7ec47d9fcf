import { expect, it } from 'vitest'
import { freePort } from './ports.ts'

it('whoever draws many before anybody listens gets a different one each time', async () => {
  const ports: number[] = []
  for (let count = 0; count < 600; count++) ports.push(await freePort())
  expect(new Set(ports).size).toBe(600)
})
