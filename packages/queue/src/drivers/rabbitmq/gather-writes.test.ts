import { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import { gatherWrites } from './gather-writes.ts'

it('hands on what is written in one turn as one piece, in order, and says when there is no room', async () => {
  const pieces: string[] = []
  const stream = new Writable({
    highWaterMark: 8,
    decodeStrings: false,
    writev(chunks, done) {
      pieces.push(chunks.map(({ chunk }) => String(chunk)).join(' '))
      done()
    },
  })
  gatherWrites(stream)
  const room = ['one', 'two', 'three'].map((text) => stream.write(text))
  expect(room).toEqual([true, true, false])
  expect(pieces).toEqual([])
  await new Promise((resolve) => stream.once('drain', resolve))
  await new Promise<void>((resolve) => stream.write('four', () => resolve()))
  expect(pieces).toEqual(['one two three', 'four'])
})
