import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { longestQuestion, readQuestion } from './question-text.ts'

const question = (route: string, address: string, token?: string) =>
  `GET /_platform/verify HTTP/1.1\r\nHost: verifier\r\nx-verify-route: ${route}\r\nx-verify-address: ${address}\r\n${token === undefined ? '' : `Authorization: ${token}\r\n`}\r\n`

describe("nginx's question", () => {
  it('is read, with and without a token, and waited for while it comes', () => {
    const text = question('orders', '::1', 'Bearer a.b.c')
    expect(readQuestion(text)).toEqual({ route: 'orders', address: '::1', authorization: 'Bearer a.b.c' })
    expect(readQuestion(question('open', '127.0.0.1'))).toEqual({ route: 'open', address: '127.0.0.1', authorization: undefined })
    for (let length = 0; length < text.length; length++) expect(readQuestion(text.slice(0, length))).toBeUndefined()
  })

  it.each([
    ['another request line', question('a', '1').replace('/_platform/verify', '/')],
    ['another method', question('a', '1').replace('GET', 'PUT')],
    ['a header more', question('a', '1').replace('\r\n\r\n', '\r\nX-Verify-Route: open\r\n\r\n')],
    ['a header before', question('a', '1').replace('Host', 'X: 1\r\nHost')],
    ['two tokens', question('a', '1', 'Bearer a\r\nAuthorization: Bearer b')],
    ['no address', question('a', '1').replace('x-verify-address: 1\r\n', '')],
    ['two questions', question('a', '1') + question('b', '1')],
    ['a body', `${question('a', '1')}x`],
    ['no end', `${question('a', '1', `Bearer ${'x'.repeat(longestQuestion)}`).trimEnd()}`],
  ])('is refused with %s', (_what, text) => {
    expect(() => readQuestion(text)).toThrow(/nginx|question/)
  })

  it('never says more than it was asked, whatever a client puts into its token', () => {
    // nginx lets no end of a line into a header.
    const value = fc.string({ unit: 'binary' }).map((text) => text.replaceAll(/[\r\n]/g, ''))
    fc.assert(
      fc.property(value, (token) => {
        expect(readQuestion(question('orders', '::1', token))).toEqual({ route: 'orders', address: '::1', authorization: token })
      }),
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(200), (noise, place) => {
        const text = question('orders', '::1', 'Bearer a')
        const broken = text.slice(0, place) + noise + text.slice(place)
        let read: ReturnType<typeof readQuestion>
        try {
          read = readQuestion(broken)
        } catch {
          return true
        }
        // Whatever is read is the whole text, part by part.
        return read === undefined || question(read.route, read.address, read.authorization) === broken
      }),
    )
  })
})
